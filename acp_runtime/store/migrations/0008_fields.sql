-- The fields of the form that a request is, as JSON.
ALTER TABLE request ADD COLUMN fields TEXT NOT NULL DEFAULT '[]';

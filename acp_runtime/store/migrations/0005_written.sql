-- How a request is answered by a text, empty where it takes none, and the text that answered it.
ALTER TABLE request ADD COLUMN writing TEXT NOT NULL DEFAULT '';
ALTER TABLE request ADD COLUMN text TEXT NOT NULL DEFAULT '';

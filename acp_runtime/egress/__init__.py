"""What a sandbox reaches beyond its model: rules, the names and addresses that they let through, and the proxy."""

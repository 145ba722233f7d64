-- The version of the server, for example "18.6".
SELECT split_part(current_setting('server_version'), ' ', 1);

-- As whom the statements of this connection run.
SELECT current_user::text;

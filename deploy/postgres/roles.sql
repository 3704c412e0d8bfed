-- Roles of the product, once per server, by a superuser. Passwords are set apart from this file.
-- migrator owns the schema; the others own nothing and cannot pass row-level security.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['migrator', 'app_api', 'app_jobs', 'app_notifications', 'worker_system']
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS', wanted);
        END IF;
        -- Behind a pooler these are the only limits, since services cannot set any there.
        IF wanted <> 'migrator' THEN
            EXECUTE format('ALTER ROLE %I SET lock_timeout = ''1s''', wanted);
            EXECUTE format('ALTER ROLE %I SET statement_timeout = ''5s''', wanted);
            EXECUTE format('ALTER ROLE %I SET idle_in_transaction_session_timeout = ''10s''', wanted);
            EXECUTE format('ALTER ROLE %I SET timezone = ''UTC''', wanted);
        END IF;
    END LOOP;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'backup') THEN
        CREATE ROLE backup LOGIN NOSUPERUSER BYPASSRLS;
    END IF;
END
$$;
GRANT pg_read_all_data TO backup;

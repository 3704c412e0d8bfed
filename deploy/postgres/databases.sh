#!/bin/sh
# Runs once, when the database container makes its cluster: passwords of the roles, and both
# databases. `role_passwords` holds one `role=password` a line, the passwords in hexadecimal.
set -eu

sql() { psql -v ON_ERROR_STOP=1 --username postgres --no-psqlrc --quiet "$@"; }

while IFS='=' read -r role password; do
    sql -v "role=$role" -v "password=$password" <<'SQL'
ALTER ROLE :"role" PASSWORD :'password';
SQL
done </run/secrets/role_passwords

for database in api notifications; do
    sql -v "database=$database" <<'SQL'
CREATE DATABASE :"database" OWNER migrator TEMPLATE template0;
REVOKE CONNECT ON DATABASE :"database" FROM PUBLIC;
SQL
done
sql -c 'GRANT CONNECT ON DATABASE api TO app_api, app_jobs, worker_system, backup'
sql -c 'GRANT CONNECT ON DATABASE notifications TO app_notifications, worker_system, backup'

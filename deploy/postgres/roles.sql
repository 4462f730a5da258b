-- Database of the brokers and its two roles: `agentwrit_owner` owns the tables, brokers run as `agentwrit_broker`. Once, as a
-- superuser, with both passwords in the environment:
--
--   psql -v ON_ERROR_STOP=1 -f deploy/postgres/roles.sql
--
-- Then, with the owner's URL: agentwrit-broker schema --apply --role agentwrit_broker
\getenv owner_password AGENTWRIT_OWNER_PASSWORD
\getenv broker_password AGENTWRIT_BROKER_PASSWORD
CREATE ROLE agentwrit_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE agentwrit_broker LOGIN PASSWORD :'broker_password';
CREATE DATABASE agentwrit OWNER agentwrit_owner;
REVOKE CONNECT, TEMPORARY ON DATABASE agentwrit FROM PUBLIC;
GRANT CONNECT ON DATABASE agentwrit TO agentwrit_broker;

//! Tests of the schema's versions and of the role that brokers run as.

use std::thread;

use agentwrit_verify::{Level, Subject, UnixTime};

use crate::{
    domain::Revocation,
    store::{
        OpenError, Pruned, Store, StoreError, StoreOptions,
        postgres::{connect::Server, schema, session::Session},
        tests::{Home, agent_id, at, postgres_server::Schema, register},
    },
};

const ROLE: &str = "the broker's \"role\"";

/// Returns the URL of a role that owns nothing.
fn url_of_role(schema: &Schema, role: &str) -> String {
    let role = role.replace(' ', "%20").replace('"', "%22").replace('\'', "%27");
    schema.url().replace("postgres://agentwrit@", &format!("postgres://{role}@"))
}

fn on_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(work).join().unwrap())
}

fn execute(url: &str, sql: &str) -> Result<(), OpenError> {
    on_thread(|| Ok(Session::open(&Server::parse(url)?)?.batch(sql)?))
}

fn create_role(schema: &Schema, role: &str) {
    let role = role.replace('"', "\"\"");
    let number = schema.number;
    let sql = format!("CREATE ROLE \"{role}\" LOGIN; GRANT USAGE ON SCHEMA test_{number} TO \"{role}\"");
    execute(&schema.url(), &sql).unwrap();
}

fn connect(url: &str) -> Result<Store, OpenError> {
    on_thread(|| Store::connect(url, StoreOptions::default()))
}

fn mark(agent: u64, expires_at: UnixTime) -> Revocation {
    Revocation {
        level: Level::Agent,
        target: agent_id(agent).to_string(),
        revoked_at: at(1),
        expires_at,
        revoked_by: Subject::Admin,
        reason: None,
        listed: true,
    }
}

#[tokio::test]
async fn broker_runs_as_role_that_can_not_change_audit_events_and_revocations() {
    let schema = Schema::create();
    create_role(&schema, ROLE);
    assert_eq!(on_thread(|| schema::apply(&schema.url(), Some(ROLE))).unwrap(), (0, 1));
    assert_eq!(on_thread(|| schema::apply(&schema.url(), Some(ROLE))).unwrap(), (1, 1), "both can be repeated");
    let url = url_of_role(&schema, ROLE);
    let store = connect(&url).unwrap();
    let far = UnixTime::from_seconds(32_503_680_000);
    let filled = store.transact(move |tx| {
        register(tx, 1)?;
        tx.insert_revocation(&mark(1, at(5)))?;
        tx.insert_revocation(&mark(2, far))?;
        Ok::<_, StoreError>(())
    });
    filled.await.unwrap();
    for sql in [
        "UPDATE audit_events SET detail = ''",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events",
        "UPDATE revocations SET expires_at = 0",
        "DELETE FROM revocations",
        "DROP TABLE revocations",
        "DELETE FROM head",
        "UPDATE head SET identity = 'another'",
        "UPDATE head SET schema_version = 2",
        "UPDATE names SET name = 'another'",
        "UPDATE apps SET client_id = 'another'",
        "DELETE FROM apps",
        "UPDATE launch_tokens SET allowed_scope = 'a:b:*'",
        "UPDATE agents SET public_key = ''",
        "UPDATE agents SET scope = 'a:b:*'",
        "UPDATE tokens SET expires_at = 0",
        "UPDATE token_delegators SET agent = 0",
        "DELETE FROM token_delegators",
        "UPDATE cluster SET issuer = 'another'",
        "DELETE FROM cluster",
        "UPDATE signing_keys SET kid = 'another'",
        "UPDATE signing_keys SET purpose = 'nonce'",
        "UPDATE signing_keys SET public = NULL",
        "UPDATE signing_keys SET created_at = 0",
        "DELETE FROM signing_keys",
        "UPDATE verifiers SET public_key = ''",
        "UPDATE verifier_instances SET instance = ''",
        "DELETE FROM report_log",
        "UPDATE confirmation_evidence SET document = ''",
        "UPDATE trust_rules SET audience = 'another'",
        "UPDATE used_assertions SET expires_at = 0",
        "DELETE FROM confirmed_cursors",
        "UPDATE ended_keys SET kid = 'another'",
        "DELETE FROM ended_keys",
    ] {
        let denied = execute(&url, sql).unwrap_err();
        assert!(denied.to_string().contains("SQLSTATE 42501"), "{sql}: {denied}");
    }
    let pruned = store.transact(move |tx| tx.prune(far, at(0))).await;
    let message = "not even with a time in the future";
    assert!(matches!(pruned, Ok::<_, StoreError>(Pruned { revocations: 1, .. })), "{message}: {pruned:?}");
    store.close().await;
}

#[test]
fn schema_takes_away_rights_of_earlier_version() {
    let schema = Schema::create();
    create_role(&schema, "earlier");
    on_thread(|| schema::apply(&schema.url(), None)).unwrap();
    let number = schema.number;
    schema.execute(&format!("GRANT ALL ON ALL TABLES IN SCHEMA test_{number} TO earlier"));
    execute(&url_of_role(&schema, "earlier"), "UPDATE signing_keys SET kid = 'another'").unwrap();
    on_thread(|| schema::apply(&schema.url(), Some("earlier"))).unwrap();
    let denied = execute(&url_of_role(&schema, "earlier"), "UPDATE signing_keys SET kid = 'another'").unwrap_err();
    assert!(denied.to_string().contains("SQLSTATE 42501"), "{denied}");
}

#[test]
fn role_of_broker_can_read_every_table() {
    let schema = Schema::create();
    create_role(&schema, "reader of all");
    on_thread(|| schema::apply(&schema.url(), Some("reader of all"))).unwrap();
    // Divides by zero if a table was forgotten.
    let complete = format!(
        "SELECT 1 / (1 - count(*)) FROM (SELECT FROM pg_tables WHERE schemaname = 'test_{}' AND NOT \
         has_table_privilege('reader of all', schemaname || '.' || tablename, 'SELECT') LIMIT 1) AS forgotten",
        schema.number
    );
    execute(&schema.url(), &complete).unwrap();
}

#[test]
fn start_without_rights_on_empty_database_names_the_remedy() {
    let schema = Schema::create();
    create_role(&schema, "no owner");
    let error = connect(&url_of_role(&schema, "no owner")).unwrap_err().to_string();
    assert!(error.contains("permission denied") && error.contains("agentwrit-broker schema --apply"), "{error}");
}

#[test]
fn start_without_rights_on_tables_names_the_remedy() {
    let schema = Schema::create();
    create_role(&schema, "no rights");
    on_thread(|| schema::apply(&schema.url(), None)).unwrap();
    let error = connect(&url_of_role(&schema, "no rights")).unwrap_err().to_string();
    assert!(error.contains("agentwrit-broker schema --apply --role"), "{error}");
}

#[test]
fn start_on_newer_schema_stops() {
    let schema = Schema::create();
    on_thread(|| schema::apply(&schema.url(), None)).unwrap();
    execute(&schema.url(), "UPDATE head SET schema_version = 2").unwrap();
    let newer = OpenError::Newer { path: "postgres".into(), found: 2, supported: 1 };
    assert_eq!(connect(&schema.url()).unwrap_err(), newer);
    assert_eq!(on_thread(|| schema::apply(&schema.url(), None)).unwrap_err(), newer);
}

#[test]
fn printed_statements_create_the_schema() {
    let schema = Schema::create();
    create_role(&schema, "printed");
    execute(&schema.url(), &schema::sql(Some("printed"))).unwrap();
    connect(&url_of_role(&schema, "printed")).unwrap();
}

#[tokio::test]
async fn rejects_nonce_whose_use_another_broker_may_have_deleted() {
    let schema = Schema::create();
    let (ahead, behind) = (connect(&schema.url()).unwrap(), connect(&schema.url()).unwrap());
    let spend = |tx: &mut crate::store::Tx<'_>| tx.spend_nonce(&[1; 32], at(30));
    assert_eq!(behind.transact(spend).await, Ok::<_, StoreError>(true));
    ahead.transact(|tx| tx.prune(at(0), at(30))).await.unwrap();
    assert_eq!(behind.transact(spend).await, Ok::<_, StoreError>(false));
}

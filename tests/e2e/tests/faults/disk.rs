//! A disk that takes no more: every write is refused and leaves nothing, what needs no write goes on, and the broker
//! recovers by itself.
//!
//! 1. `RLIMIT_FSIZE` makes writes fail for one process and without privileges: at once (a store that became
//!    read-only), or in the middle of a transaction (a disk that fills up).
//! 2. Where the test may mount (as root), a small `tmpfs` is filled as well: there the system says `ENOSPC`.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use agentwrit_e2e::{Broker, Registration, Response, assert_whole_chain, jti};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::sleep;

/// The signal for a file that is too long would end the process; as on a full disk, the write shall just fail.
const IGNORE_SIGXFSZ: &str = "trap '' XFSZ";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_only_store_answers_503_and_recovers() {
    let broker = Broker::start_after(IGNORE_SIGXFSZ, TempDir::new().unwrap(), &[]).await;
    outage(broker, |broker| limit_file_size(broker, "0"), |broker| limit_file_size(broker, "unlimited")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disk_full_within_transaction_answers_503_and_recovers() {
    let broker = Broker::start_after(IGNORE_SIGXFSZ, TempDir::new().unwrap(), &[]).await;
    let strike = |broker: &Broker| {
        let log = broker.directory().join("data.db-wal").metadata().unwrap().len();
        // Room for two pages of some ten that a registration writes.
        limit_file_size(broker, &(log + 2 * 4120).to_string());
    };
    outage(broker, strike, |broker| limit_file_size(broker, "unlimited")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_file_system_answers_503_and_recovers() {
    let Some(disk) = SmallDisk::mount() else {
        println!("nothing can be mounted here; the limits on file sizes stand in for it");
        return;
    };
    let directory = tempfile::tempdir_in(disk.path()).unwrap();
    let broker = Broker::start_in(directory, &[]).await;
    outage(broker, |_| disk.fill(), |_| disk.free()).await;
}

/// From the first refusal to the recovery.
async fn outage(broker: Broker, strike: impl Fn(&Broker), relieve: impl Fn(&Broker)) {
    let admin = broker.admin_token().await;
    let app = broker.create_app(&admin, "desk", &["read:data:*"]).await;
    let (token, agent_id) = broker.agent(&admin, &["read:data:x"]).await;
    let (other, _) = broker.agent(&admin, &["read:data:x"]).await;
    let launch_token = broker.launch_token(&admin, &["read:data:x"]).await;
    let events = broker.audit_events().await;
    let rows = broker.stored_rows();

    strike(&broker);
    let registration = Registration::new(&launch_token, &broker.nonce().await, &["read:data:x"]);
    let register = || broker.post("/v1/register").json(&registration.0);
    let revocation = json!({"level": "agent", "target": agent_id});
    let login = json!({"client_id": app.client_id, "client_secret": app.client_secret});
    for write in [
        register(),
        broker.post("/v1/token/renew").bearer(&token),
        broker.post("/v1/token/release").bearer(&token),
        broker.post("/v1/revoke").bearer(&admin).json(&revocation),
        broker.post("/v1/delegate").bearer(&token).json(&json!({"delegate_to": agent_id, "scope": ["read:data:x"]})),
        broker.post("/v1/admin/auth").json(&json!({"secret": agentwrit_e2e::ADMIN_SECRET})),
        broker.post("/v1/app/auth").json(&login),
        broker.post("/v1/admin/apps").bearer(&admin).json(&json!({"name": "other", "scopes": ["read:data:*"]})),
        broker.request(http::Method::DELETE, &format!("/v1/admin/apps/{}", app.app_id)).bearer(&admin),
        register(),
    ] {
        unavailable(&write.await);
    }
    what_needs_no_write_goes_on(&broker, &admin, &token).await;
    assert_eq!(broker.stored_rows(), rows, "a refused write left something");

    relieve(&broker);
    recovered(&broker).await;
    assert_eq!(broker.stored_rows(), rows);
    // Nothing was consumed, ended or barred.
    assert_eq!(register().await.status, 200);
    let renewed = broker.renewed(&token).await;
    assert!(broker.accepts(&renewed).await && !broker.accepts(&token).await && broker.accepts(&other).await);
    assert_eq!(broker.revoked(&admin, "token", &jti(&other)).await, 1);
    assert!(!broker.accepts(&other).await);
    let trail = broker.events(&admin, "").await;
    assert_whole_chain(&trail);
    assert!(trail.len() as u64 > events);

    let directory = broker.kill().await;
    let broker = Broker::start_in(directory, &[]).await;
    assert!(broker.accepts(&renewed).await && !broker.accepts(&token).await && !broker.accepts(&other).await);
    assert_whole_chain(&broker.events(&admin, "").await);
}

/// 503, when to try again, and nothing else.
#[track_caller]
fn unavailable(answer: &Response) {
    answer.problem(503, "unavailable");
    assert!(answer.header("retry-after").is_some_and(|after| after.parse::<u64>().is_ok_and(|after| after > 0)));
}

async fn what_needs_no_write_goes_on(broker: &Broker, admin: &str, token: &str) {
    let health = broker.get("/v1/health").await;
    assert_eq!(health.status, 503);
    assert_eq!((&health.json()["status"], &health.json()["db_connected"]), (&json!("unavailable"), &json!(false)));
    assert!(broker.accepts(token).await, "its end was refused");
    for path in ["/v1/challenge", "/v1/metrics", "/.well-known/jwks.json", "/v1/revocations"] {
        assert_eq!(broker.get(path).await.status, 200, "{path}");
    }
    assert_eq!(broker.get("/v1/admin/apps").bearer(admin).await.status, 200);
}

/// Without a restart, and soon.
async fn recovered(broker: &Broker) {
    let started = Instant::now();
    while broker.get("/v1/health").await.status != 200 {
        assert!(started.elapsed() < Duration::from_secs(5), "it does not recover");
        sleep(Duration::from_millis(50)).await;
    }
}

fn limit_file_size(broker: &Broker, bytes: &str) {
    let pid = broker.pid().to_string();
    // The soft limit only, so that it can be lifted again.
    run(Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:unlimited")]));
}

/// A file system of its own, in memory. It goes when dropped.
struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    fn mount() -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m,mode=0700", "agentwrit-faults"])
            .arg(directory.path())
            .output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then_some(Self { directory })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes until nothing more fits.
    fn fill(&self) {
        use std::io::Write;

        let mut file = std::fs::File::create(self.filler()).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the broker of a failed test may still run.
        Command::new("umount").arg("-l").arg(self.directory.path()).status().ok();
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

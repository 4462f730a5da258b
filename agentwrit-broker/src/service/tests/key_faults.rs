//! Signing keys whose files or rows are damaged, and directories that can't be written: the withdrawal of a leaked key works.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use agentwrit_verify::Clock;
use tokio::time::timeout;

use super::{
    key_operations::{author, kid_of},
    *,
};
use crate::{
    domain::KeyState,
    keys::UnusableKey,
    service::keys::{KeyError, KeyOperation},
};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Damages a key as a full disk does.
fn truncate(path: &Path) {
    fs::File::options().write(true).open(path).unwrap().set_len(40).unwrap();
}

impl TestServices {
    fn file_of(&self, kid: &str) -> PathBuf {
        self.directory_of_keys().join(format!("{kid}.pem"))
    }

    /// Id of the key at the path.
    fn kid_at_path(&self) -> String {
        let pem = fs::read(&self.config.signing_key_path).unwrap();
        agentwrit_verify::issue::SigningKey::from_pkcs8_pem(&pem).unwrap().id().as_str().to_owned()
    }

    async fn change_keys(&self, operation: KeyOperation) -> Result<String, Error> {
        Ok(self.services.keys.change(operation, author(None)).await?.key.kid)
    }

    async fn prepare_key(&self) -> String {
        self.change_keys(KeyOperation::Prepare).await.unwrap()
    }

    async fn withdraw_key(&self, kid: &str) {
        self.change_keys(KeyOperation::Withdraw { kid: kid.to_owned() }).await.unwrap();
    }

    async fn activate_key(&self, kid: &str) -> Result<String, Error> {
        self.change_keys(KeyOperation::Activate { kid: kid.to_owned(), force: true }).await
    }

    /// States of the keys, with the faults of those that can't be used.
    async fn examined(&self) -> Vec<(String, KeyState, Option<String>)> {
        let listed = self.services.keys.list().await.unwrap();
        let fault = |kid: &str| listed.unusable.iter().find(|key| key.kid == kid).map(UnusableKey::describe);
        listed.keys.iter().map(|key| (key.kid.clone(), key.state, fault(&key.kid))).collect()
    }

    async fn state_of(&self, kid: &str) -> KeyState {
        self.examined().await.into_iter().find(|(found, ..)| found == kid).unwrap().1
    }

    async fn active_key(&self) -> String {
        let active = self.examined().await.into_iter().find(|(_, state, _)| *state == KeyState::Active);
        active.unwrap().0
    }

    async fn restart_here(&mut self) {
        self.restart_at(self.clock.now()).await;
    }
}

#[tokio::test]
async fn withdraws_active_key_while_file_of_prepared_key_is_damaged() {
    let mut test = TestServices::new().await;
    let (leaked, token) = (test.active_key().await, test.enrol("task", 3600).await.token);
    let damaged = test.prepare_key().await;
    truncate(&test.file_of(&damaged));
    let other = test.prepare_key().await;
    test.withdraw_key(&other).await;

    let rejected = test.activate_key(&damaged).await.unwrap_err();
    assert!(matches!(&rejected, Error::Key(KeyError::Unusable { cause }) if cause.contains(&damaged)), "{rejected:?}");
    test.withdraw_key(&leaked).await;
    assert!(matches!(test.verify(&token), Err(VerifyError::UnknownKey { .. })));
    let next = test.active_key().await;
    assert_ne!(next, damaged);
    assert_eq!(test.kid_at_path(), next);
    let token = test.enrol("task", 3600).await.token;
    assert_eq!(kid_of(&token), next);

    // It does not stop the start either, and is not withdrawn by it: its file is there.
    test.restart_here().await;
    assert!(test.verify(&token).is_ok());
    let (_, state, fault) = test.examined().await.into_iter().find(|(kid, ..)| *kid == damaged).unwrap();
    assert_eq!(state, KeyState::Prepared);
    let fault = fault.unwrap();
    assert!(fault.ends_with("; it is not activated: withdraw it, it has signed nothing"), "{fault}");
    assert!(fault.contains(&test.file_of(&damaged).canonicalize().unwrap().display().to_string()), "{fault}");
    test.services.keys.run_due().await.unwrap();
    assert_eq!(test.services.keys.warnings(), ["signing_key_unusable"]);
    test.withdraw_key(&damaged).await;
    test.services.keys.run_due().await.unwrap();
    assert_eq!(test.services.keys.warnings(), [""; 0]);
    assert!(!test.file_of(&damaged).exists());
}

#[tokio::test]
async fn withdraws_active_key_while_new_file_cannot_be_written_and_writes_it_later() {
    let mut test = TestServices::new().await;
    let (leaked, token) = (test.active_key().await, test.enrol("task", 3600).await.token);
    fs::create_dir(test.directory_of_keys()).unwrap();
    set_mode(&test.directory_of_keys(), 0o757);
    let rejected = test.change_keys(KeyOperation::Prepare).await.unwrap_err();
    assert!(matches!(&rejected, Error::Custody(_)), "{rejected:?}");
    assert!(rejected.to_string().contains("is open to others (mode 0757): run `chmod 700` on it"), "{rejected}");

    test.withdraw_key(&leaked).await;
    assert!(matches!(test.verify(&token), Err(VerifyError::UnknownKey { .. })));
    let next = test.active_key().await;
    let token = test.enrol("task", 3600).await.token;
    assert!(kid_of(&token) == next && test.verify(&token).is_ok());
    assert_eq!(test.kid_at_path(), leaked);
    test.services.keys.run_due().await.unwrap();
    assert_eq!(test.services.keys.warnings(), ["signing_key_not_saved"]);

    set_mode(&test.directory_of_keys(), 0o700);
    test.services.keys.run_due().await.unwrap();
    test.services.keys.run_due().await.unwrap();
    assert_eq!(test.services.keys.warnings(), [""; 0]);
    assert_eq!(test.kid_at_path(), next);
    test.restart_here().await;
    assert!(test.verify(&token).is_ok());
    assert_eq!(test.active_key().await, next);
}

/// A pipe without a writer in the place of a file stands for a disk that does not respond.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn withdraws_active_key_while_disk_of_key_files_hangs() {
    let test = TestServices::new().await;
    let (leaked, token) = (test.active_key().await, test.enrol("task", 300).await.token);
    let pipe = test.file_of(&test.prepare_key().await);
    fs::remove_file(&pipe).unwrap();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    timeout(Duration::from_secs(20), test.withdraw_key(&leaked)).await.unwrap();
    assert!(matches!(test.verify(&token), Err(VerifyError::UnknownKey { .. })));
    assert_eq!(test.services.keys.change_warnings(), ["signing_key_not_saved"]);
    let next = kid_of(&test.enrol("task", 300).await.token);
    assert_eq!(timeout(Duration::from_secs(20), test.active_key()).await.unwrap(), next);
    // The disk responds again.
    drop(fs::File::options().write(true).open(&pipe).unwrap());
    fs::remove_file(&pipe).unwrap();
    while !test.services.keys.change_warnings().is_empty() {
        test.services.keys.run_due().await.unwrap();
    }
    assert_eq!(test.kid_at_path(), next);
}

/// The broker was killed while its active key was in memory only: the withdrawn key does not sign again.
#[tokio::test]
async fn start_rejects_withdrawn_key_at_path_when_successor_was_in_memory_only() {
    let test = TestServices::new().await;
    let leaked = test.active_key().await;
    fs::create_dir(test.directory_of_keys()).unwrap();
    set_mode(&test.directory_of_keys(), 0o757);
    test.withdraw_key(&leaked).await;
    test.services.ledger.store.clone().close().await;
    set_mode(&test.directory_of_keys(), 0o700);
    let store = Store::open(&test.config.db_path, StoreOptions::default()).unwrap();
    let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(50));
    let rejected = open_key_files(&store, &test.config.signing_key_path, &entropy).await.unwrap_err().to_string();
    assert!(rejected.contains("was withdrawn, and the file of the active one is missing"), "{rejected}");
    fs::remove_file(&test.config.signing_key_path).unwrap();
    open_key_files(&store, &test.config.signing_key_path, &entropy).await.unwrap();
    assert_ne!(test.kid_at_path(), leaked);
    store.close().await;
}

#[tokio::test]
async fn withdraws_retiring_key_and_rotates_while_file_of_active_key_is_damaged() {
    let mut test = TestServices::new().await;
    let (leaked, old_token) = (test.active_key().await, test.enrol("task", 3600).await.token);
    let active = test.prepare_key().await;
    test.activate_key(&active).await.unwrap();
    let token = test.enrol("task", 3600).await.token;
    truncate(&test.config.signing_key_path);
    test.withdraw_key(&leaked).await;
    assert!(matches!(test.verify(&old_token), Err(VerifyError::UnknownKey { .. })));
    assert!(test.verify(&token).is_ok());
    assert_eq!(kid_of(&test.enrol("task", 3600).await.token), active, "it signs from memory");

    // The damaged file is that of the retiring key: it stays, and the next start finds the active one in the directory.
    let next = test.prepare_key().await;
    test.activate_key(&next).await.unwrap();
    test.restart_here().await;
    assert_eq!(test.active_key().await, next);
    assert!(test.verify(&token).is_ok(), "its public half is known");
    assert_eq!(test.state_of(&active).await, KeyState::Retiring);
    test.withdraw_key(&active).await;
    assert_eq!(test.kid_at_path(), next);
}

#[tokio::test]
async fn withdrawal_replaces_file_of_key_that_was_open_to_others() {
    let mut test = TestServices::new().await;
    let leaked = test.active_key().await;
    set_mode(&test.config.signing_key_path, 0o644);
    test.withdraw_key(&leaked).await;
    let next = test.active_key().await;
    assert_eq!(test.kid_at_path(), next);
    let mode = fs::metadata(&test.config.signing_key_path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o600);
    test.restart_here().await;
    assert_eq!(test.active_key().await, next);
}

#[tokio::test]
async fn start_removes_files_that_were_being_written_and_files_of_ended_keys() {
    let mut test = TestServices::new().await;
    let (first, second) = (test.active_key().await, test.prepare_key().await);
    let pem = fs::read(test.file_of(&second)).unwrap();
    test.withdraw_key(&second).await;
    test.prepare_key().await;
    let name = |name: &str| test.directory.path().join(name);
    let partial = [
        test.directory_of_keys().join(format!(".{second}.pem.0123456789abcdef")),
        test.file_of(&second),
        name(".signing.key.0123456789abcdef"),
        name(".signing.key.nonce.0123456789abcdef"),
    ];
    let others = [
        test.directory_of_keys().join(".notes.0123456789abcdef"),
        test.directory_of_keys().join(format!(".{second}.pem.0123456789abcdeg")),
        name(".signing.key.old"),
        name(".other.key.0123456789abcdef"),
    ];
    for path in partial.iter().chain(&others) {
        fs::write(path, &pem).unwrap();
        set_mode(path, 0o600);
    }
    test.restart_here().await;
    let left: Vec<&PathBuf> = partial.iter().filter(|path| path.exists()).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(others.iter().all(|path| path.exists()));
    assert_eq!(test.active_key().await, first);
}

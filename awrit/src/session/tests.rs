use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

const BROKER: &str = "https://broker.example";

fn store(directory: &Path, broker: &str, secret: &str) -> SessionStore {
    SessionFile::new(directory.join("sessions"), broker).with_secret(&Secret::from(secret))
}

fn token() -> StoredToken {
    StoredToken { token: Secret::from("the-token"), expires_at: UnixTime::from_seconds(1_795_248_000) }
}

fn loaded(store: &SessionStore) -> Option<(String, UnixTime)> {
    store.load().map(|stored| (stored.token.expose().to_owned(), stored.expires_at))
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn loads_token_for_same_broker_and_secret_only() {
    let directory = tempfile::tempdir().unwrap();
    let session = store(directory.path(), BROKER, "the-admin-secret");
    assert_eq!(loaded(&session), None);
    session.save(&token());
    assert_eq!(loaded(&session), Some(("the-token".to_owned(), token().expires_at)));
    assert_eq!(loaded(&store(directory.path(), "https://other.example", "the-admin-secret")), None);
    assert_eq!(loaded(&store(directory.path(), BROKER, "another-secret")), None);
    assert!(session.file.remove().unwrap() && !session.file.remove().unwrap());
    assert_eq!(loaded(&session), None);
}

#[test]
fn file_is_private_and_holds_neither_secret_nor_its_digest() {
    let directory = tempfile::tempdir().unwrap();
    let session = store(directory.path(), BROKER, "the-admin-secret");
    session.save(&token());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&session.file.directory), mode(&session.file.path("json"))), (0o700, 0o600));
    let text = fs::read_to_string(session.file.path("json")).unwrap();
    assert!(!text.contains("the-admin-secret"), "{text}");
    let digest = HEXLOWER.encode(&Sha256::digest("the-admin-secret")[..4]);
    assert!(!text.contains(&digest), "{text}");
}

#[test]
fn ignores_files_and_directories_that_other_users_can_change_or_read() {
    let directory = tempfile::tempdir().unwrap();
    let session = store(directory.path(), BROKER, "the-admin-secret");
    session.save(&token());
    let path = session.file.path("json");
    for mode in [0o640, 0o604, 0o660, 0o666] {
        set_mode(&path, mode);
        assert_eq!(loaded(&session), None, "{mode:o}");
        let stored = session.file.read().unwrap().unwrap();
        assert!(stored.is_exposed && stored.token.token.expose() == "the-token", "{mode:o}");
    }
    set_mode(&path, 0o600);
    for mode in [0o770, 0o707, 0o720] {
        set_mode(&session.file.directory, mode);
        assert_eq!(loaded(&session), None, "{mode:o}");
        session.save(&token());
    }
    set_mode(&session.file.directory, 0o700);
    assert!(loaded(&session).is_some());
    fs::write(&path, "nonsense").unwrap();
    assert_eq!(loaded(&session), None);
}

#[test]
fn ignores_directory_of_another_user() {
    let directory = tempfile::tempdir().unwrap();
    let session = store(directory.path(), BROKER, "the-admin-secret");
    session.save(&token());
    let foreign = SessionFile { owner: session.file.owner.wrapping_add(1), ..session.file.clone() };
    let foreign = foreign.with_secret(&Secret::from("the-admin-secret"));
    assert_eq!(loaded(&foreign), None);
    fs::remove_file(foreign.file.path("json")).unwrap();
    foreign.save(&token());
    assert!(foreign.try_claim().is_some());
    assert_eq!(fs::read_dir(&foreign.file.directory).unwrap().count(), 0, "neither session nor lock is written");
}

#[test]
fn follows_no_symbolic_link_to_session_or_lock() {
    let directory = tempfile::tempdir().unwrap();
    let session = store(directory.path(), BROKER, "the-admin-secret");
    session.save(&token());
    let (path, elsewhere) = (session.file.path("json"), directory.path().join("elsewhere.json"));
    fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    assert_eq!(loaded(&session), None);
    let target = directory.path().join("target-of-lock");
    symlink(&target, session.file.path("lock")).unwrap();
    assert!(session.try_claim().is_some());
    assert!(!target.exists(), "the target of the link was created");
}

#[test]
fn ignores_pipe_in_place_of_session_without_waiting_for_its_writer() {
    let directory = tempfile::tempdir().unwrap();
    let session = store(directory.path(), BROKER, "the-admin-secret");
    session.file.create_directory().unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, session.file.path("json"), mode).unwrap();
    assert_eq!(loaded(&session), None);
    assert_eq!(session.file.read().err().unwrap().to_string(), "it is not a regular file of this user");
}

#[test]
fn grants_login_lock_to_one_process_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (store(directory.path(), BROKER, "s"), store(directory.path(), BROKER, "s"));
    let claim = first.try_claim();
    assert!(claim.is_some() && second.try_claim().is_none());
    drop(claim);
    assert!(second.try_claim().is_some());
    // Without a session directory there is nothing to wait for.
    let unusable = SessionFile::new(PathBuf::from("/dev/null/sessions"), BROKER).with_secret(&Secret::from("s"));
    unusable.save(&token());
    assert!(unusable.try_claim().is_some() && unusable.try_claim().is_some());
}

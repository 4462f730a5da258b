//! The operator's session between commands: the token of the last login, in a file.
//!
//! 1. One file for each broker URL and identity, in `$XDG_STATE_HOME/awrit/sessions` (`~/.local/state/awrit/sessions`). The
//!    directory is 0700, the file 0600 and replaced whole. One that others can write, or that is no plain file of the
//!    directory's owner, is not used.
//! 2. The admin secret is not stored. Sixteen bits of an HMAC of it, keyed with the token, tell another secret from it, so that a
//!    wrong secret is refused by the broker and does not go on with the session of the right one. They do not confirm a guess of
//!    the secret: one wrong guess in 65,536 has the same bits.
//! 3. Of several commands at once one logs in; the others wait for it, by a lock on a file beside it.
//! 4. A file that cannot be read or written costs a login, and nothing else.

use std::{
    env,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use agentwrit_client::{Secret, StoredToken, TokenStore};
use agentwrit_verify::UnixTime;
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

/// The longest file that is read.
const LONGEST_FILE: u64 = 64 * 1024;

/// Who is logged in.
const IDENTITY: &str = "admin";

/// The directory of all sessions of this user; none where there is no home.
pub(crate) fn directory() -> Option<PathBuf> {
    let absolute = |path: PathBuf| Some(path).filter(|path| path.is_absolute());
    let state = env::var_os("XDG_STATE_HOME").map(PathBuf::from).and_then(absolute);
    let state = state.or_else(|| env::home_dir().and_then(absolute).map(|home| home.join(".local/state")));
    state.map(|state| state.join("awrit/sessions"))
}

/// Where the session at one broker is kept.
#[derive(Clone, Debug)]
pub(crate) struct SessionFile {
    directory: PathBuf,
    broker: String,
}

/// The file's content.
#[derive(Serialize, Deserialize)]
struct Kept {
    broker: String,
    identity: String,
    token: String,
    expires_at: UnixTime,
    /// Tells another admin secret from that of the login.
    secret_check: String,
}

impl SessionFile {
    pub(crate) fn new(directory: PathBuf, broker: &str) -> Self {
        Self { directory, broker: broker.to_owned() }
    }

    /// The store of a session that was begun with `secret`.
    pub(crate) fn of_secret(self, secret: &Secret) -> SessionStore {
        SessionStore { file: self, secret: secret.clone() }
    }

    /// The token, whoever asks for it.
    pub(crate) fn token(&self) -> Option<StoredToken> {
        self.read().map(|(stored, _)| stored)
    }

    /// Removes the file; whether there was one.
    pub(crate) fn remove(&self) -> io::Result<bool> {
        match fs::remove_file(self.path("json")) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn path(&self, extension: &str) -> PathBuf {
        let name = Sha256::new().chain_update(&self.broker).chain_update([0]).chain_update(IDENTITY).finalize();
        let name = HEXLOWER.encode(name.get(..16).unwrap_or_default());
        self.directory.join(format!("{name}.{extension}"))
    }

    /// The token and the check of the secret.
    fn read(&self) -> Option<(StoredToken, String)> {
        let directory = private_directory(&self.directory)?;
        let path = self.path("json");
        let listed = fs::symlink_metadata(&path).ok()?;
        let file = File::open(&path).ok()?;
        let found = file.metadata().ok()?;
        let same = (listed.dev(), listed.ino()) == (found.dev(), found.ino());
        let others = found.mode() & 0o077;
        let private = listed.is_file() && found.uid() == directory.uid() && others == 0;
        if !same || !private {
            return None;
        }
        let mut text = Zeroizing::new(Vec::new());
        file.take(LONGEST_FILE).read_to_end(&mut text).ok()?;
        let kept: Kept = serde_json::from_slice(&text).ok()?;
        // Wiped when it is dropped.
        let token = Secret::from(kept.token);
        let ours = kept.broker == self.broker && kept.identity == IDENTITY;
        ours.then_some((StoredToken { token, expires_at: kept.expires_at }, kept.secret_check))
    }

    fn write(&self, token: &StoredToken, secret_check: String) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        if private_directory(&self.directory).is_none() {
            return Err(io::Error::other("others can write the directory"));
        }
        let mut kept = Kept {
            broker: self.broker.clone(),
            identity: IDENTITY.to_owned(),
            token: token.token.expose().to_owned(),
            expires_at: token.expires_at,
            secret_check,
        };
        let text = serde_json::to_vec(&kept).map(Zeroizing::new);
        kept.token.zeroize();
        let text = text?;
        // 0600 from the first byte.
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        file.write_all(&text)?;
        file.persist(self.path("json")).map(drop).map_err(|error| error.error)
    }

    /// The file that is locked while a command logs in.
    fn lock_file(&self) -> Option<File> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory).ok()?;
        private_directory(&self.directory)?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        options.open(self.path("lock")).ok()
    }
}

/// A directory that its owner alone can write.
fn private_directory(path: &Path) -> Option<fs::Metadata> {
    let found = fs::symlink_metadata(path).ok()?;
    (found.is_dir() && found.mode() & 0o022 == 0).then_some(found)
}

/// A session's file, for the holder of the secret that it was begun with.
#[derive(Debug)]
pub(crate) struct SessionStore {
    file: SessionFile,
    secret: Secret,
}

impl SessionStore {
    fn secret_check(&self, token: &str) -> Option<String> {
        let mac = Hmac::<Sha256>::new_from_slice(token.as_bytes()).ok()?;
        let mac = mac.chain_update(self.secret.expose()).finalize().into_bytes();
        Some(HEXLOWER.encode(mac.get(..2)?))
    }
}

impl TokenStore for SessionStore {
    fn load(&self) -> Option<StoredToken> {
        let (stored, secret_check) = self.file.read()?;
        let ours = self.secret_check(stored.token.expose())? == secret_check;
        ours.then_some(stored)
    }

    fn save(&self, token: &StoredToken) {
        let Some(secret_check) = self.secret_check(token.token.expose()) else { return };
        // Without the file the next command logs in.
        self.file.write(token, secret_check).unwrap_or_default();
    }

    fn try_claim(&self) -> Option<Box<dyn Send>> {
        let Some(lock) = self.file.lock_file() else { return Some(Box::new(())) };
        match lock.try_lock() {
            Ok(()) => Some(Box::new(lock)),
            Err(fs::TryLockError::WouldBlock) => None,
            Err(fs::TryLockError::Error(_)) => Some(Box::new(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const BROKER: &str = "https://broker.example";

    fn store(directory: &Path, broker: &str, secret: &str) -> SessionStore {
        SessionFile::new(directory.join("sessions"), broker).of_secret(&Secret::from(secret))
    }

    fn token() -> StoredToken {
        StoredToken { token: Secret::from("the-token"), expires_at: UnixTime::from_seconds(1_795_248_000) }
    }

    fn loaded(store: &SessionStore) -> Option<(String, UnixTime)> {
        store.load().map(|stored| (stored.token.expose().to_owned(), stored.expires_at))
    }

    #[test]
    fn a_token_is_kept_for_its_broker_and_secret() {
        let directory = tempfile::tempdir().unwrap();
        let ours = store(directory.path(), BROKER, "the-admin-secret");
        assert_eq!(loaded(&ours), None);
        ours.save(&token());
        assert_eq!(loaded(&ours), Some(("the-token".to_owned(), token().expires_at)));
        assert_eq!(loaded(&store(directory.path(), "https://other.example", "the-admin-secret")), None);
        assert_eq!(loaded(&store(directory.path(), BROKER, "another-secret")), None);
        assert!(ours.file.remove().unwrap() && !ours.file.remove().unwrap());
        assert_eq!(loaded(&ours), None);
    }

    #[test]
    fn the_file_is_private_and_holds_no_secret() {
        let directory = tempfile::tempdir().unwrap();
        let ours = store(directory.path(), BROKER, "the-admin-secret");
        ours.save(&token());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&ours.file.directory), mode(&ours.file.path("json"))), (0o700, 0o600));
        let text = fs::read_to_string(ours.file.path("json")).unwrap();
        assert!(!text.contains("the-admin-secret"), "{text}");
        let digest = HEXLOWER.encode(&Sha256::digest("the-admin-secret")[..4]);
        assert!(!text.contains(&digest), "{text}");
    }

    #[test]
    fn what_others_can_change_or_read_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let ours = store(directory.path(), BROKER, "the-admin-secret");
        ours.save(&token());
        let path = ours.file.path("json");
        let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        for mode in [0o640, 0o604, 0o660, 0o666] {
            set(&path, mode);
            assert_eq!(loaded(&ours), None, "{mode:o}");
        }
        set(&path, 0o600);
        for mode in [0o770, 0o707, 0o720] {
            set(&ours.file.directory, mode);
            assert_eq!(loaded(&ours), None, "{mode:o}");
            ours.save(&token());
        }
        set(&ours.file.directory, 0o700);
        assert!(loaded(&ours).is_some());
        let elsewhere = directory.path().join("elsewhere.json");
        fs::rename(&path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert_eq!(loaded(&ours), None, "a symbolic link");
        fs::remove_file(&path).unwrap();
        fs::write(&path, "nonsense").unwrap();
        set(&path, 0o600);
        assert_eq!(loaded(&ours), None);
    }

    #[test]
    fn one_process_at_a_time_claims_the_login() {
        let directory = tempfile::tempdir().unwrap();
        let (ours, theirs) = (store(directory.path(), BROKER, "s"), store(directory.path(), BROKER, "s"));
        let claim = ours.try_claim();
        assert!(claim.is_some() && theirs.try_claim().is_none());
        drop(claim);
        assert!(theirs.try_claim().is_some());
        // Where nothing can be kept, nothing can be waited for.
        let nowhere = SessionFile::new(PathBuf::from("/dev/null/sessions"), BROKER).of_secret(&Secret::from("s"));
        nowhere.save(&token());
        assert!(nowhere.try_claim().is_some() && nowhere.try_claim().is_some());
    }
}

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use tempfile::TempDir;

use super::*;
use crate::keys::{OsEntropy, SeededEntropy};

/// Key made by `openssl genpkey -algorithm ed25519`.
const OPENSSL: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIO4MrZkb7agxQeyCsOMdmufYlAAAFpb8p7ebwa98pNHj
-----END PRIVATE KEY-----
";

const X25519: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VuBCIEIAjZFlZQrpUb9HL30Rpr+yQerH3+U3tZY5YAq5+njNdh
-----END PRIVATE KEY-----
";

const P256: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgofEq3t1OtDfaqw7l
8UDT+TeVzZlEQf8kWaHw1mw+wmyhRANCAAQuuPP0egQWqYsKv+9j/2AZ5Yim8JvV
iGwTTzoxIWdmQVhvvw51DdEaOyeCXQC5cQ9MO+1pab8MdBZT+WRg6scE
-----END PRIVATE KEY-----
";

fn key_file(content: &[u8], mode: u32) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("signing.key");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    (directory, path)
}

fn open(path: &Path) -> Result<KeyFile, KeyFileError> {
    KeyFile::open(path, &SeededEntropy::new(1))
}

#[test]
fn makes_missing_key_with_mode_0600_and_reads_the_same_key_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("signing.key");
    let made = KeyFile::open(&path, &OsEntropy::open().unwrap()).unwrap();
    assert!(made.created);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert!(fs::read_to_string(&path).unwrap().starts_with("-----BEGIN PRIVATE KEY-----\n"));
    let names: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["signing.key"], "nothing else is left behind");

    let read = open(&path).unwrap();
    assert!(!read.created);
    assert_eq!(read.signing_key.id(), made.signing_key.id());
    assert_eq!(read.derived_nonce_key.expose(), made.derived_nonce_key.expose());
}

#[test]
fn concurrent_first_starts_use_one_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("signing.key");
    let keys: Vec<_> = std::thread::scope(|scope| {
        let start = |seed| KeyFile::open(&path, &SeededEntropy::new(seed)).unwrap();
        let starts: Vec<_> = (0..8).map(|seed| scope.spawn(move || start(seed))).collect();
        starts.into_iter().map(|start| *start.join().unwrap().derived_nonce_key.expose()).collect()
    });
    assert!(keys.iter().all(|key| *key == keys[0]));
}

#[test]
fn reads_key_made_by_openssl() {
    // Kubernetes opens volumes to the group (`fsGroup`).
    for mode in [0o600, 0o400, 0o640, 0o660] {
        let (_directory, path) = key_file(OPENSSL.as_bytes(), mode);
        let (_, document) = SecretDocument::from_pem(OPENSSL).unwrap();
        let seed: [u8; 32] = document.as_bytes()[16..].try_into().unwrap();
        let key = open(&path).unwrap();
        assert_eq!(key.signing_key.id(), SigningKey::from_seed(&seed).unwrap().id());
        assert_ne!(*key.derived_nonce_key.expose(), seed);
    }
}

#[test]
fn rejects_key_that_other_users_can_read_or_write() {
    for mode in [0o604, 0o644, 0o602, 0o601, 0o777] {
        let (_directory, path) = key_file(OPENSSL.as_bytes(), mode);
        let error = open(&path).unwrap_err();
        assert_eq!(error, KeyFileError::Exposed { path, mode });
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
}

#[test]
fn checks_mode_of_the_target_of_a_link() {
    let (directory, path) = key_file(OPENSSL.as_bytes(), 0o644);
    let link = directory.path().join("link");
    symlink(&path, &link).unwrap();
    assert_eq!(open(&link).unwrap_err(), KeyFileError::Exposed { path: link, mode: 0o644 });
}

#[test]
fn rejects_other_kinds_of_key_by_name_and_keeps_the_file() {
    for (content, found) in [
        (X25519, "a key of another algorithm"),
        (P256, "a key of another algorithm"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n", "an RSA key"),
        ("-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY-----\n", "an EC key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n", "an OpenSSH key"),
        ("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGb\n-----END ENCRYPTED PRIVATE KEY-----\n", "an encrypted key"),
        ("-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n", "a public key"),
        ("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "a certificate"),
        ("-----BEGIN THING-----\nMIIB\n-----END THING-----\n", "another kind of PEM block"),
        ("AA_ADMIN_SECRET=no key at all\n", "no PEM block"),
    ] {
        let (_directory, path) = key_file(content.as_bytes(), 0o600);
        assert_eq!(open(&path).unwrap_err(), KeyFileError::Foreign { path: path.clone(), found });
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
    let (_directory, path) = key_file(b"\x30\x2e\x02\x01\x00\xff", 0o600);
    assert_eq!(open(&path).unwrap_err(), KeyFileError::Foreign { path, found: "binary data" });
}

#[test]
fn rejects_damaged_key_and_keeps_the_file() {
    let half: String = OPENSSL.chars().take(60).collect();
    let flipped = OPENSSL.replace("MC4CAQAw", "MC4DAQAw");
    let mismatched = {
        let key = KeypairBytes { secret_key: [1; 32], public_key: Some(ed25519_dalek::pkcs8::PublicKeyBytes([2; 32])) };
        key.to_pkcs8_pem(LineEnding::LF).unwrap().to_string()
    };
    let short = OPENSSL.replace("98pNHj", "98pA==");
    for content in ["", "\n\n", &half, &flipped, &mismatched, &short, &OPENSSL.replace("MC4C", "M*4C")] {
        let (_directory, path) = key_file(content.as_bytes(), 0o600);
        assert_eq!(open(&path).unwrap_err(), KeyFileError::Corrupt { path: path.clone() }, "{content}");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
}

#[test]
fn rejects_directory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_path_buf();
    assert_eq!(open(&path).unwrap_err(), KeyFileError::Foreign { path, found: "no regular file" });
}

#[test]
fn does_not_make_missing_directory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("missing").join("signing.key");
    let error = open(&path).unwrap_err();
    let KeyFileError::Uncreatable { path: named, .. } = error else { panic!("{error}") };
    assert_eq!(named, path);
}

#[test]
fn debug_output_omits_key() {
    let (_directory, path) = key_file(OPENSSL.as_bytes(), 0o600);
    let key = open(&path).unwrap();
    assert_eq!(format!("{:?}", key.derived_nonce_key), "NonceKey(…)");
    let shown = format!("{:?}", key.signing_key);
    for secret in ["ee0cad99", "238, 12, 173", "7gytmR"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn rejects_symbolic_link_to_missing_key_and_makes_none() {
    let directory = tempfile::tempdir().unwrap();
    let (link, target) = (directory.path().join("signing.key"), directory.path().join("secrets/signing.key"));
    symlink(&target, &link).unwrap();
    let cause = String::from("it is a symbolic link to a file that does not exist");
    assert_eq!(open(&link).unwrap_err(), KeyFileError::Uncreatable { path: link.clone(), cause });
    assert_eq!(fs::read_link(&link).unwrap(), target, "the link stays");
    assert!(!target.exists());
}

/// Seeds that follow each other in a sequence: among 256 keys there are ids that begin with a hyphen.
#[test]
fn id_of_new_key_does_not_begin_with_hyphen() {
    #[derive(Debug, Default)]
    struct Counting(std::sync::atomic::AtomicU64);

    impl Entropy for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(0);
            let number = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            bytes.iter_mut().zip(number.to_be_bytes()).for_each(|(byte, part)| *byte = part);
        }
    }

    let entropy = Counting::default();
    let ids: Vec<String> =
        (0..256).map(|_| SigningKey::from_seed(&new_seed(&entropy)).unwrap().id().as_str().to_owned()).collect();
    assert!(ids.iter().all(|id| !id.starts_with('-')));
    assert!(entropy.0.into_inner() > 256, "a seed was passed over");
}

//! Checks of the files that the broker relies on, for faults that do not stop the start but let others than the operator
//! read or replace them. Each warning names the file and the remedy.
//!
//! Permissions for others than owner and group stop the start: see [`KeyFileError`](crate::KeyFileError) and
//! [`OpenError`](crate::store::OpenError). Permissions of the group only warn, because Kubernetes sets them on volumes (`fsGroup`).

use std::{
    fmt, fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::{
    config::{Config, TlsConfig},
    keys::{KeyFiles, nonce_file_beside},
    store::{database_files, directory_of},
};

/// Fault of a file, reported at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileWarning {
    /// The group may read or write a file that holds secrets or authority.
    OpenToGroup { path: PathBuf, mode: u32 },
    /// Another user than the broker's owns a file, and can change its permissions and contents.
    ForeignOwner { path: PathBuf, owner: u32, process: u32 },
    /// Every user can make, rename and delete files beside the broker's.
    DirectoryOpenToOthers { path: PathBuf, mode: u32 },
    /// Every user can read, or write, the private key of TLS.
    TlsKeyOpenToOthers { path: PathBuf, mode: u32 },
}

/// Returns the warnings about the existing files of `config`. `process` is the user that the broker runs as.
pub(crate) fn inspect(config: &Config, process: u32) -> Vec<FileWarning> {
    let secrets = if let Some(shared) = &config.shared_store {
        vec![shared.state_path.clone(), shared.key_encryption_key_path.clone()]
    } else {
        let keys = [config.signing_key_path.clone(), nonce_file_beside(&config.signing_key_path)];
        let other_keys = KeyFiles::at(&config.signing_key_path).in_directory();
        database_files(&config.db_path).into_iter().chain(keys).chain(other_keys).collect()
    };
    let mut warnings: Vec<FileWarning> = secrets.iter().flat_map(|path| private_file(path, process)).collect();
    let mut directories: Vec<_> = secrets.iter().map(|path| directory_of(path)).collect();
    directories.dedup();
    warnings.extend(directories.into_iter().filter_map(directory));
    if let TlsConfig::Tls { key, .. } | TlsConfig::Mtls { key, .. } = &config.tls
        && let Ok(metadata) = fs::metadata(key)
        && metadata.mode() & 0o007 != 0
    {
        warnings.push(FileWarning::TlsKeyOpenToOthers { path: key.clone(), mode: permissions(&metadata) });
    }
    warnings
}

fn private_file(path: &Path, process: u32) -> Vec<FileWarning> {
    let Ok(metadata) = fs::metadata(path) else { return Vec::new() };
    let mode = permissions(&metadata);
    let group = (mode & 0o070 != 0).then(|| FileWarning::OpenToGroup { path: path.into(), mode });
    let owner = metadata.uid();
    let foreign = (owner != process).then(|| FileWarning::ForeignOwner { path: path.into(), owner, process });
    group.into_iter().chain(foreign).collect()
}

fn directory(path: &Path) -> Option<FileWarning> {
    let mode = permissions(&fs::metadata(path).ok()?);
    (mode & 0o002 != 0).then(|| FileWarning::DirectoryOpenToOthers { path: path.into(), mode })
}

fn permissions(metadata: &fs::Metadata) -> u32 {
    metadata.mode() & 0o7777
}

impl fmt::Display for FileWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OpenToGroup { path, mode } => write!(
                f,
                "`{}` has mode {mode:04o}, so that its group can open it: run `chmod 600` on it unless the group is meant to",
                path.display()
            ),
            Self::ForeignOwner { path, owner, process } => write!(
                f,
                "`{}` belongs to user {owner}, who can replace it, and the broker runs as user {process}: \
                 run `chown {process}` on it",
                path.display()
            ),
            Self::DirectoryOpenToOthers { path, mode } => write!(
                f,
                "the directory `{}` has mode {mode:04o}, so that others can put files in the place of the broker's: \
                 run `chmod 700` on it",
                path.display()
            ),
            Self::TlsKeyOpenToOthers { path, mode } => write!(
                f,
                "AA_TLS_KEY `{}` has mode {mode:04o}, so that others can open it: run `chmod 640` on it, with the broker's \
                 user as its owner or group",
                path.display()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A data directory with the files of a broker, and its configuration.
    fn files() -> (tempfile::TempDir, Config) {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::for_development(directory.path(), "a secret for the tests").unwrap();
        let (cert, key) = (directory.path().join("server.crt"), directory.path().join("server.key"));
        for path in [&config.db_path, &config.signing_key_path, &key] {
            fs::write(path, "").unwrap();
            chmod(path, 0o600);
        }
        config.tls = TlsConfig::Tls { cert, key };
        (directory, config)
    }

    fn owner(config: &Config) -> u32 {
        fs::metadata(&config.db_path).unwrap().uid()
    }

    #[test]
    fn accepts_private_files_of_broker_user() {
        let (_directory, config) = files();
        assert_eq!(inspect(&config, owner(&config)), []);
    }

    #[test]
    fn warns_of_each_file_with_remedy() {
        let (directory, config) = files();
        let wal = directory.path().join("data.db-wal");
        fs::write(&wal, "").unwrap();
        chmod(&config.db_path, 0o660);
        chmod(&wal, 0o640);
        chmod(&config.signing_key_path, 0o640);
        chmod(&directory.path().join("server.key"), 0o644);
        chmod(directory.path(), 0o777);
        let warnings: Vec<String> = inspect(&config, owner(&config)).iter().map(ToString::to_string).collect();
        let name = |file: &str| directory.path().join(file).display().to_string();
        let group = "so that its group can open it: run `chmod 600` on it unless the group is meant to";
        assert_eq!(
            warnings,
            [
                format!("`{}` has mode 0660, {group}", name("data.db")),
                format!("`{}` has mode 0640, {group}", name("data.db-wal")),
                format!("`{}` has mode 0640, {group}", name("signing.key")),
                format!(
                    "the directory `{}` has mode 0777, so that others can put files in the place of the broker's: run \
                     `chmod 700` on it",
                    directory.path().display()
                ),
                format!(
                    "AA_TLS_KEY `{}` has mode 0644, so that others can open it: run `chmod 640` on it, with the broker's \
                     user as its owner or group",
                    name("server.key")
                ),
            ]
        );
        chmod(directory.path(), 0o700);
    }

    #[test]
    fn warns_of_file_of_retiring_key_that_group_can_open() {
        let (directory, config) = files();
        let keys = directory.path().join("signing.key.d");
        fs::create_dir(&keys).unwrap();
        fs::write(keys.join("a.pem"), "").unwrap();
        chmod(&keys, 0o700);
        chmod(&keys.join("a.pem"), 0o640);
        let warned = FileWarning::OpenToGroup { path: keys.canonicalize().unwrap().join("a.pem"), mode: 0o640 };
        assert_eq!(inspect(&config, owner(&config)), [warned]);
    }

    #[test]
    fn warns_of_files_owned_by_another_user() {
        let (_directory, config) = files();
        let (owner, process) = (owner(&config), owner(&config) + 1);
        let foreign = |path: &Path| FileWarning::ForeignOwner { path: path.into(), owner, process };
        assert_eq!(inspect(&config, process), [foreign(&config.db_path), foreign(&config.signing_key_path)]);
    }
}

//! Certificate authorities, certificates and key files that exist for one test.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

/// Settings of a broker with TLS whose files [`Authority::install_server`] wrote.
pub(crate) const TLS: [(&str, &str); 3] =
    [("AA_TLS_MODE", "tls"), ("AA_TLS_CERT", "server.pem"), ("AA_TLS_KEY", "server.key")];

/// The same with client certificates from the authorities in `clients.pem`.
pub(crate) const MTLS: [(&str, &str); 4] =
    [("AA_TLS_MODE", "mtls"), TLS[1], TLS[2], ("AA_TLS_CLIENT_CA", "clients.pem")];

pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        Self::with_key(name, KeyPair::generate().unwrap())
    }

    pub(crate) fn with_key(name: &str, key: KeyPair) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(parameters, key).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for 127.0.0.1 and its key, both in PEM.
    pub(crate) fn issue(&self, purpose: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut parameters = CertificateParams::new(vec![String::from("127.0.0.1")]).unwrap();
        parameters.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        (parameters.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    pub(crate) fn install_server(&self, directory: &Path) {
        let (certificate, key) = self.issue(ExtendedKeyUsagePurpose::ServerAuth);
        fs::write(directory.join("server.pem"), certificate).unwrap();
        fs::write(directory.join("server.key"), key).unwrap();
    }

    /// Writes `<name>.pem` and `<name>.key`.
    pub(crate) fn install_client(&self, directory: &Path, name: &str) {
        let (certificate, key) = self.issue(ExtendedKeyUsagePurpose::ClientAuth);
        fs::write(directory.join(format!("{name}.pem")), certificate).unwrap();
        fs::write(directory.join(format!("{name}.key")), key).unwrap();
    }
}

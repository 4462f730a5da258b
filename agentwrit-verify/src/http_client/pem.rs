//! PEM (RFC 7468) of certificates and private keys.
//!
//! 1. Every line that begins a section counts: its section is read, or the text is rejected with the number of the line.
//!    A certificate is never left out silently, even if two files were joined without a line break in between.
//! 2. Text before, between and after sections is ignored. Beside certificates only keys and parameters of keys are; a section
//!    of another kind is rejected: a revocation list (`X509 CRL`) would not be enforced, and the certificates in `PKCS7` or
//!    `CMS` would be lost.
//! 3. White space around lines, empty lines and a byte order mark are ignored; line ends are LF, CR LF or CR.
//! 4. Base64 is strict: no other characters, padded, no stray bits.

use std::fmt;

use data_encoding::{BASE64, DecodeError};
use zeroize::Zeroizing;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// A DER-encoded private key.
#[derive(Clone)]
#[non_exhaustive]
pub struct PrivateKey {
    /// Format of the encoding.
    pub format: PrivateKeyFormat,
    /// Encoded key, wiped when it is dropped.
    pub der: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for PrivateKey {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey").field("format", &self.format).finish_non_exhaustive()
    }
}

/// The encoding of a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "callers must handle each encoding")]
pub enum PrivateKeyFormat {
    /// `PRIVATE KEY`: PKCS #8 (RFC 5958).
    Pkcs8,
    /// `RSA PRIVATE KEY`: PKCS #1 (RFC 8017).
    Pkcs1,
    /// `EC PRIVATE KEY`: SEC 1 (RFC 5915).
    Sec1,
}

/// Error of PEM that cannot be used. Lines are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// The text contains no certificate.
    #[error("there is no certificate in the PEM")]
    NoCertificate,
    /// The text contains no private key.
    #[error("there is no private key in the PEM")]
    NoPrivateKey,
    /// The text contains several private keys.
    #[error("line {line}: a second private key begins")]
    SecondPrivateKey {
        /// Line of its begin.
        line: usize,
    },
    /// The private key is encrypted under a passphrase.
    #[error("line {line}: the private key is encrypted; decrypt it, for example with `openssl pkey`")]
    Encrypted {
        /// Line of its begin.
        line: usize,
    },
    /// A line that is almost the begin or the end of a section, or one of each without a line break in between.
    #[error("line {line}: `-----BEGIN …-----` and `-----END …-----` must stand alone in their line")]
    Boundary {
        /// Number of the line.
        line: usize,
    },
    /// A section of a kind that is not supported, for example `TRUSTED CERTIFICATE` or `X509 CRL`.
    #[error("line {line}: the section `{label}` is not supported; remove it or convert it")]
    Unsupported {
        /// Line of its begin.
        line: usize,
        /// Its kind.
        label: String,
    },
    /// A section without an end, or with that of another kind.
    #[error("line {line}: the section that begins here has no end of the same kind")]
    Unterminated {
        /// Line of its begin.
        line: usize,
    },
    /// An end without a begin.
    #[error("line {line}: a section ends that did not begin")]
    NotBegun {
        /// Number of the line.
        line: usize,
    },
    /// Something other than base64 within a section.
    #[error("line {line}: this is not base64")]
    Base64 {
        /// Number of the line.
        line: usize,
    },
    /// A section that holds something other than one DER value.
    #[error("line {line}: the section that begins here does not hold one complete DER value")]
    Der {
        /// Line of its begin.
        line: usize,
    },
}

/// Returns every certificate in `pem` as DER, in order; at least one.
///
/// ```
/// use agentwrit_verify::http_client::pem::{self, PemError};
///
/// let joined = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE----------BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
/// assert_eq!(pem::certificates(joined.as_bytes()), Err(PemError::Boundary { line: 3 }));
/// ```
///
/// # Errors
///
/// [`PemError`], with the line.
pub fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, PemError> {
    let mut certificates = Vec::new();
    for section in sections(pem)? {
        if section.is_certificate()? {
            certificates.push(section.der.to_vec());
        }
    }
    if certificates.is_empty() { Err(PemError::NoCertificate) } else { Ok(certificates) }
}

/// Returns the private key in `pem`, which may be repeated.
///
/// # Errors
///
/// [`PemError`], with the line.
pub fn private_key(pem: &[u8]) -> Result<PrivateKey, PemError> {
    let mut found = None;
    for section in sections(pem)? {
        let Some(format) = section.private_key()? else { continue };
        match &found {
            Some(PrivateKey { der, .. }) if *der != section.der => {
                return Err(PemError::SecondPrivateKey { line: section.line });
            }
            Some(_) => {}
            None => found = Some(PrivateKey { format, der: section.der }),
        }
    }
    found.ok_or(PemError::NoPrivateKey)
}

/// Returns PEM of the private key in one text and of the certificates in another, which may be the same. It is written anew,
/// so that a lenient reader finds exactly what was read here.
///
/// # Errors
///
/// [`PemError`], with the line in the text concerned.
pub fn identity(private_key_pem: &[u8], certificates_pem: &[u8]) -> Result<Zeroizing<Vec<u8>>, PemError> {
    let (key, certificates) = (private_key(private_key_pem)?, certificates(certificates_pem)?);
    let label = match key.format {
        PrivateKeyFormat::Pkcs8 => "PRIVATE KEY",
        PrivateKeyFormat::Pkcs1 => "RSA PRIVATE KEY",
        PrivateKeyFormat::Sec1 => "EC PRIVATE KEY",
    };
    // Sized in advance, so that growing leaves no copies of the key behind.
    let size =
        certificates.iter().map(Vec::len).chain([key.der.len()]).map(|der| der.saturating_mul(2).saturating_add(128));
    let mut written = Zeroizing::new(Vec::with_capacity(size.fold(0, usize::saturating_add)));
    write(&mut written, label, &key.der);
    for certificate in &certificates {
        write(&mut written, "CERTIFICATE", certificate);
    }
    Ok(written)
}

fn write(to: &mut Vec<u8>, label: &str, der: &[u8]) {
    to.extend_from_slice(format!("{BEGIN}{label}{DASHES}\n").as_bytes());
    // RFC 7468 §2: 64 characters a line, which are 48 bytes.
    for line in der.chunks(48) {
        to.extend_from_slice(Zeroizing::new(BASE64.encode(line)).as_bytes());
        to.push(b'\n');
    }
    to.extend_from_slice(format!("{END}{label}{DASHES}\n").as_bytes());
}

/// Section between a begin and its end.
struct Section {
    label: String,
    /// Line of its begin.
    line: usize,
    /// True if header lines announce encryption under a passphrase (RFC 1421).
    encrypted: bool,
    der: Zeroizing<Vec<u8>>,
}

impl Section {
    fn is_certificate(&self) -> Result<bool, PemError> {
        match self.label.as_str() {
            // RFC 7468 §5.1 names the last two as labels of old.
            "CERTIFICATE" | "X509 CERTIFICATE" | "X.509 CERTIFICATE" => Ok(true),
            label if label.ends_with(" KEY") || label.ends_with(" PARAMETERS") => Ok(false),
            _ => Err(self.unsupported()),
        }
    }

    fn unsupported(&self) -> PemError {
        PemError::Unsupported { line: self.line, label: self.label.clone() }
    }

    fn private_key(&self) -> Result<Option<PrivateKeyFormat>, PemError> {
        let format = match self.label.as_str() {
            "PRIVATE KEY" => PrivateKeyFormat::Pkcs8,
            "RSA PRIVATE KEY" => PrivateKeyFormat::Pkcs1,
            "EC PRIVATE KEY" => PrivateKeyFormat::Sec1,
            "ENCRYPTED PRIVATE KEY" => return Err(PemError::Encrypted { line: self.line }),
            label if label.ends_with(" PRIVATE KEY") => return Err(self.unsupported()),
            _ => return Ok(None),
        };
        if self.encrypted { Err(PemError::Encrypted { line: self.line }) } else { Ok(Some(format)) }
    }
}

fn sections(pem: &[u8]) -> Result<Vec<Section>, PemError> {
    let pem = pem.strip_prefix(b"\xef\xbb\xbf").unwrap_or(pem);
    let mut sections = Vec::new();
    let mut open: Option<Open> = None;
    for (line, text) in lines(pem) {
        match (boundary(line, text)?, open.take()) {
            (Some(Boundary::Begin(label)), None) => open = Some(Open::new(label, line)),
            (Some(Boundary::End(label)), Some(begun)) if begun.label == label => sections.push(begun.close()?),
            (Some(Boundary::Begin(_) | Boundary::End(_)), Some(begun)) => {
                return Err(PemError::Unterminated { line: begun.line });
            }
            (Some(Boundary::End(_)), None) => return Err(PemError::NotBegun { line }),
            (None, Some(mut begun)) => {
                begun.add(line, text)?;
                open = Some(begun);
            }
            (None, None) => {}
        }
    }
    open.map_or(Ok(sections), |begun| Err(PemError::Unterminated { line: begun.line }))
}

/// Lines without the white space around them, with their numbers.
fn lines(pem: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut number = 0_usize;
    let mut rest = Some(pem);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = text.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let (line, after) = end.and_then(|end| text.split_at_checked(end)).unwrap_or((text, &[]));
        rest = end.map(|_| after.strip_prefix(b"\r\n").or_else(|| after.get(1..)).unwrap_or_default());
        number = number.saturating_add(1);
        Some((number, line.trim_ascii()))
    })
}

enum Boundary<'a> {
    Begin(&'a str),
    End(&'a str),
}

/// Parses a line that is a boundary. Rejects a line that is almost one.
fn boundary(line: usize, text: &[u8]) -> Result<Option<Boundary<'_>>, PemError> {
    let holds = |part: &str| text.windows(part.len()).any(|window| window == part.as_bytes());
    let almost = |word: &str| text.starts_with(b"-") && holds(word);
    if !(holds(BEGIN) || holds(END) || almost("BEGIN ") || almost("END ")) {
        return Ok(None);
    }
    let text = std::str::from_utf8(text).map_err(|_| PemError::Boundary { line })?;
    let label_after = |prefix| text.strip_prefix(prefix)?.strip_suffix(DASHES).filter(|label| !label.contains("--"));
    match (label_after(BEGIN), label_after(END)) {
        (Some(label), _) => Ok(Some(Boundary::Begin(label))),
        (None, Some(label)) => Ok(Some(Boundary::End(label))),
        (None, None) => Err(PemError::Boundary { line }),
    }
}

/// Section that has not ended yet.
struct Open {
    label: String,
    line: usize,
    encrypted: bool,
    base64: Zeroizing<Vec<u8>>,
    /// Offset of each line of base64 in `base64`, and its number.
    starts: Vec<(usize, usize)>,
}

impl Open {
    fn new(label: &str, line: usize) -> Self {
        Self { label: label.to_owned(), line, encrypted: false, base64: Zeroizing::default(), starts: Vec::new() }
    }

    fn add(&mut self, line: usize, text: &[u8]) -> Result<(), PemError> {
        if text.contains(&b':') {
            // A header as of RFC 1421: private keys under a passphrase have them, and nothing else may (RFC 7468 §2).
            if !self.label.ends_with("PRIVATE KEY") {
                return Err(PemError::Base64 { line });
            }
            self.encrypted |= text.starts_with(b"Proc-Type:");
            return Ok(());
        }
        self.starts.push((self.base64.len(), line));
        self.base64.extend(text.iter().filter(|byte| !byte.is_ascii_whitespace()));
        Ok(())
    }

    fn close(self) -> Result<Section, PemError> {
        let Self { label, line, encrypted, base64, starts } = self;
        let at = |error: DecodeError| {
            let before = starts.iter().rev().find(|(start, _)| *start <= error.position);
            PemError::Base64 { line: before.map_or(line, |(_, line)| *line) }
        };
        let der = Zeroizing::new(BASE64.decode(&base64).map_err(at)?);
        // Ciphertext is not DER.
        if !encrypted && !is_one_der_value(&der) {
            return Err(PemError::Der { line });
        }
        Ok(Section { label, line, encrypted, der })
    }
}

/// Returns true if `der` is one value of exactly its encoded length (X.690 §8.1.3, §10.1).
fn is_one_der_value(der: &[u8]) -> bool {
    let Some((&[_tag, first], rest)) = der.split_first_chunk() else { return false };
    if first < 0x80 {
        return rest.len() == usize::from(first);
    }
    let digits = usize::from(first & 0x7f);
    let Some((length, rest)) = rest.split_at_checked(digits) else { return false };
    let length = length.iter().try_fold(0_usize, |length, digit| Some(length.checked_mul(256)? | usize::from(*digit)));
    (1..=4).contains(&digits) && length == Some(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A section of one DER value, a sequence that holds `number`.
    fn section(label: &str, number: u8) -> String {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(&der(number)))
    }

    fn der(number: u8) -> Vec<u8> {
        vec![0x30, 3, 2, 1, number]
    }

    fn certificate(number: u8) -> String {
        section("CERTIFICATE", number)
    }

    #[test]
    fn reads_every_certificate_in_its_order() {
        let text =
            ["Bag Attributes\n", &certificate(1), "\n# the root\n", &certificate(2), &section("X509 CERTIFICATE", 3)];
        assert_eq!(certificates(text.concat().as_bytes()), Ok(vec![der(1), der(2), der(3)]));
        for (variant, text) in [
            ("CR LF", certificate(1).replace('\n', "\r\n")),
            ("CR", certificate(1).replace('\n', "\r")),
            ("byte order mark", format!("\u{feff}{}", certificate(1))),
            ("indented", certificate(1).replace('\n', "\n  ")),
            ("no line break at the end", certificate(1).trim_end().to_owned()),
            ("beside a key", section("PRIVATE KEY", 9) + &certificate(1) + &section("EC PARAMETERS", 9)),
        ] {
            assert_eq!(certificates(text.as_bytes()), Ok(vec![der(1)]), "{variant}");
        }
    }

    #[test]
    fn rejects_with_the_line_what_would_lose_a_certificate() {
        let (first, second) = (certificate(1), certificate(2));
        for (text, expected) in [
            (first.trim_end().to_owned() + &second, PemError::Boundary { line: 3 }),
            (first.clone() + second.trim_end().trim_end_matches('-'), PemError::Boundary { line: 6 }),
            (first.clone() + second.strip_prefix('-').unwrap(), PemError::Boundary { line: 4 }),
            (first.clone() + &second.replacen("-----BEGIN", "--- BEGIN", 1), PemError::Boundary { line: 4 }),
            (first.clone() + "see -----BEGIN CERTIFICATE-----", PemError::Boundary { line: 4 }),
            (first.replace("-----END CERTIFICATE-----\n", "") + &second, PemError::Unterminated { line: 1 }),
            (first.clone() + "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n", PemError::Unterminated { line: 4 }),
            (first.clone() + &second.replace("END CERTIFICATE", "END X"), PemError::Unterminated { line: 4 }),
            (first.clone() + "-----END CERTIFICATE-----\n", PemError::NotBegun { line: 4 }),
            (first.clone() + &second.replace("MAMC", "MA!C"), PemError::Base64 { line: 5 }),
            (first.clone() + &second.replace('=', ""), PemError::Base64 { line: 5 }),
            (first.clone() + &second.replace("MAMC", "Key: x\nMAMC"), PemError::Base64 { line: 5 }),
            (first.clone() + "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", PemError::Der { line: 4 }),
            (first + "-----BEGIN CERTIFICATE-----\nMAMCAQEA\n-----END CERTIFICATE-----\n", PemError::Der { line: 4 }),
        ] {
            assert_eq!(certificates(text.as_bytes()), Err(expected), "{text}");
        }
        for text in ["", "garbage", &section("PRIVATE KEY", 1)] {
            assert_eq!(certificates(text.as_bytes()), Err(PemError::NoCertificate), "{text}");
        }
    }

    #[test]
    fn rejects_by_name_sections_that_would_be_ignored_beside_certificates() {
        for label in ["TRUSTED CERTIFICATE", "ATTRIBUTE CERTIFICATE", "X509 CRL", "PKCS7", "CMS", "CERTIFICATE REQUEST"]
        {
            let text = certificate(1) + &section(label, 2);
            let error = certificates(text.as_bytes()).unwrap_err();
            assert_eq!(error, PemError::Unsupported { line: 4, label: label.to_owned() });
            assert!(error.to_string().contains(label), "{error}");
        }
        let keys =
            [&*section("PRIVATE KEY", 7), &section("PUBLIC KEY", 8), &section("DH PARAMETERS", 9), &certificate(1)];
        assert_eq!(certificates(keys.concat().as_bytes()), Ok(vec![der(1)]));
    }

    #[test]
    fn reads_the_one_private_key() {
        for (label, format) in [
            ("PRIVATE KEY", PrivateKeyFormat::Pkcs8),
            ("RSA PRIVATE KEY", PrivateKeyFormat::Pkcs1),
            ("EC PRIVATE KEY", PrivateKeyFormat::Sec1),
        ] {
            let text = section("EC PARAMETERS", 8) + &certificate(1) + &section(label, 9);
            let key = private_key(text.as_bytes()).map_err(|error| error.to_string()).unwrap();
            assert_eq!((key.format, key.der.to_vec()), (format, der(9)));
        }
        let twice = section("PRIVATE KEY", 1) + &section("PRIVATE KEY", 1);
        assert!(private_key(twice.as_bytes()).is_ok(), "the same key twice");
        let encrypted = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        for (text, expected) in [
            (certificate(1), PemError::NoPrivateKey),
            (section("PRIVATE KEY", 1) + &section("EC PRIVATE KEY", 2), PemError::SecondPrivateKey { line: 4 }),
            (
                section("OPENSSH PRIVATE KEY", 1),
                PemError::Unsupported { line: 1, label: "OPENSSH PRIVATE KEY".to_owned() },
            ),
            (certificate(1) + &section("ENCRYPTED PRIVATE KEY", 2), PemError::Encrypted { line: 4 }),
            (encrypted.to_owned(), PemError::Encrypted { line: 1 }),
        ] {
            assert_eq!(private_key(text.as_bytes()).err(), Some(expected), "{text}");
        }
    }

    #[test]
    fn identity_written_anew_is_read_as_the_same() {
        let text = certificate(1) + "text\n" + &section("EC PRIVATE KEY", 9) + &certificate(2);
        let written = identity(text.as_bytes(), text.as_bytes()).unwrap();
        assert_eq!(certificates(&written), Ok(vec![der(1), der(2)]));
        assert_eq!(
            private_key(&written).map(|key| (key.format, key.der.to_vec())).ok(),
            Some((PrivateKeyFormat::Sec1, der(9)))
        );
        assert_eq!(identity(certificate(1).as_bytes(), b"").err(), Some(PemError::NoPrivateKey));
    }

    #[test]
    fn der_value_must_be_whole() {
        for (der, whole) in [
            (vec![], false),
            (vec![0x30], false),
            (vec![0x30, 0], true),
            (vec![0x30, 1], false),
            (vec![0x30, 0x81], false),
            ([vec![0x30, 0x81, 200], vec![0; 200]].concat(), true),
            ([vec![0x30, 0x82, 1, 0], vec![0; 256]].concat(), true),
            ([vec![0x30, 0x82, 1, 0], vec![0; 255]].concat(), false),
            (vec![0x30, 0x80], false),
            ([vec![0x30, 0x89], vec![0xff; 9]].concat(), false),
        ] {
            assert_eq!(is_one_der_value(&der), whole, "{der:?}");
        }
    }
}

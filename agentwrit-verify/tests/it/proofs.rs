//! Checks of proofs, named after the clauses of RFC 9449.

use std::time::Duration;

use agentwrit_verify::{
    ClaimSet, Clock as _, Level, SenderConstraint, Thumbprint, UnixTime, Verifier, VerifyError,
    issue::SigningKey,
    proof::{
        ExternalUrl, MAX_PROOF_LENGTH, NonceKey, PresentedProof, PresentedToken, ProofError, ProofRequest,
        ProofVerifier, ProofVerifierBuilder, Scheme, WantsProofOptions,
    },
    testing::TestIssuer,
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{encode, signed_by};

const URL: &str = "https://api.example.com/records/7";
const KEY: [u8; 32] = [3; 32];

/// A service, and an agent with a bound token.
struct Scene {
    issuer: TestIssuer,
    verifier: Verifier,
    proofs: ProofVerifier,
    key: SigningKey,
    token: String,
}

impl Scene {
    fn new() -> Self {
        Self::with(|builder| builder)
    }

    /// A service that was started a minute ago.
    fn with(
        options: impl FnOnce(ProofVerifierBuilder<WantsProofOptions>) -> ProofVerifierBuilder<WantsProofOptions>,
    ) -> Self {
        let scene = Self::just_started(options);
        scene.issuer.clock().advance(Duration::from_secs(60));
        scene
    }

    fn just_started(
        options: impl FnOnce(ProofVerifierBuilder<WantsProofOptions>) -> ProofVerifierBuilder<WantsProofOptions>,
    ) -> Self {
        let issuer = TestIssuer::new();
        let key = SigningKey::from_seed(&KEY).unwrap();
        let token = issuer.bound_token(&["read:data:*"], key.public_key().thumbprint());
        let (verifier, proofs) = (issuer.verifier(), options(builder(&issuer)).build());
        Self { issuer, verifier, proofs, key, token }
    }

    fn now(&self) -> u64 {
        self.issuer.clock().now().seconds()
    }

    fn header(&self) -> Value {
        json!({"typ": "dpop+jwt", "alg": "EdDSA", "jwk": self.jwk()})
    }

    fn jwk(&self) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "x": encode(self.key.public_key().as_bytes())})
    }

    fn claims(&self) -> Value {
        json!({"jti": "one", "htm": "GET", "htu": URL, "iat": self.now(), "ath": ath(&self.token)})
    }

    fn signed(&self, header: &Value, claims: &Value) -> String {
        signed_by(&self.key, header.to_string(), claims.to_string())
    }

    /// The good proof with members of its header replaced; `null` removes one.
    fn with_header(&self, changes: &Value) -> String {
        self.signed(&changed(self.header(), changes), &self.claims())
    }

    /// The good proof with claims replaced; `null` removes one.
    fn with_claims(&self, changes: &Value) -> String {
        self.signed(&self.header(), &changed(self.claims(), changes))
    }

    fn good(&self) -> String {
        self.signed(&self.header(), &self.claims())
    }

    fn present(&self, presented: &PresentedToken<'_>) -> Result<(), VerifyError> {
        self.verifier.verify_presented(presented, &self.proofs).map(drop)
    }

    fn judge(&self, proof: &str) -> Result<(), ProofError> {
        proof_result(self.present(&self.request().proof(proof)))
    }

    /// The good request, without a proof.
    fn request(&self) -> PresentedToken<'_> {
        PresentedToken::new(Scheme::Dpop, &self.token, "GET", "/records/7")
    }
}

fn builder(issuer: &TestIssuer) -> ProofVerifierBuilder<WantsProofOptions> {
    ProofVerifier::builder().external_url("https://api.example.com").unwrap().clock(issuer.clock().clone())
}

fn proof_result(result: Result<(), VerifyError>) -> Result<(), ProofError> {
    match result {
        Ok(()) => Ok(()),
        Err(VerifyError::Proof { error, .. }) => Err(error),
        Err(error) => panic!("not an error of the proof: {error:?}"),
    }
}

fn changed(mut object: Value, changes: &Value) -> Value {
    let members = object.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() { drop(members.remove(name)) } else { drop(members.insert(name.clone(), value.clone())) }
    }
    object
}

fn ath(token: &str) -> String {
    BASE64URL_NOPAD.encode(&Sha256::digest(token))
}

#[test]
fn section_4_3_accepts_token_with_proof_of_its_key() {
    let scene = Scene::new();
    let good = scene.good();
    let presented = scene.request().proof(&good);
    let claims = scene.verifier.verify_presented(&presented, &scene.proofs).unwrap();
    assert_eq!(claims.sender_constraint().map(|constraint| constraint.jkt), Some(scene.key.public_key().thumbprint()));
    for alg in ["EdDSA", "Ed25519"] {
        let header = changed(scene.header(), &json!({"alg": alg}));
        assert_eq!(
            scene.judge(&scene.signed(&header, &changed(scene.claims(), &json!({"jti": alg})))),
            Ok(()),
            "{alg}"
        );
    }
}

#[test]
fn section_4_3_check_1_rejects_request_without_proof_or_with_several() {
    let scene = Scene::new();
    let good = scene.good();
    assert_eq!(proof_result(scene.present(&scene.request())), Err(ProofError::Missing));
    let several = scene.request().proofs([good.as_bytes(), good.as_bytes()]);
    assert_eq!(proof_result(scene.present(&several)), Err(ProofError::Several));
    assert_eq!(proof_result(scene.present(&scene.request().proofs([]))), Err(ProofError::Missing));
    assert_eq!(proof_result(scene.present(&scene.request().proofs([good.as_bytes()]))), Ok(()));
}

#[test]
fn section_4_3_check_2_rejects_all_but_one_well_formed_jwt() {
    let scene = Scene::new();
    let good = scene.good();
    let (start, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = start.split_once('.').unwrap();
    for other in [
        String::new(),
        String::from("junk"),
        format!("{good},{good}"),
        format!("{good}."),
        format!(" {good}"),
        format!("{good}="),
        format!("{start}."),
        format!("{start}.{}", &signature[1..]),
        format!(".{payload}.{signature}"),
        format!("{header}..{signature}"),
        format!("{}.{payload}.{signature}", encode("[]")),
        format!("{header}.{}.{signature}", encode("{}x")),
        String::from_utf8_lossy(b"\xff.\xff.\xff").into_owned(),
    ] {
        let error = scene.judge(&other).unwrap_err();
        assert!(matches!(error, ProofError::Malformed { .. }), "{other}: {error:?}");
        assert_eq!((error.reason(), error.code()), ("proof_malformed", "invalid_dpop_proof"));
    }
    let not_text = scene.request().proofs([b"\xff".as_slice()]);
    assert!(matches!(scene.present(&not_text), Err(VerifyError::Proof { error: ProofError::Malformed { .. }, .. })));
    for twice in [r#","iat":1"#, r#","jti":"two""#] {
        let claims = scene.claims().to_string();
        let claims = format!("{}{twice}}}", claims.strip_suffix('}').unwrap());
        let proof = signed_by(&scene.key, scene.header().to_string(), claims);
        assert!(matches!(scene.judge(&proof), Err(ProofError::Malformed { .. })), "{twice}");
    }
    let many: Vec<u8> = vec![0; 100];
    for proof in [scene.with_claims(&json!({"other": many})), scene.with_header(&json!({"other": many}))] {
        assert_eq!(scene.judge(&proof), Err(ProofError::Malformed { message: "a part has too many members".into() }));
    }
    let long = scene.with_claims(&json!({"jti": "x".repeat(MAX_PROOF_LENGTH)}));
    assert_eq!(scene.judge(&long), Err(ProofError::TooLong { length: long.len(), limit: MAX_PROOF_LENGTH }));
    assert_eq!(scene.judge(&good), Ok(()), "a rejected proof was recorded");
}

#[test]
fn section_4_3_check_3_rejects_proof_without_a_required_member() {
    let scene = Scene::new();
    for member in ["typ", "alg", "jwk"] {
        assert_eq!(scene.judge(&scene.with_header(&json!({member: null}))), Err(ProofError::MissingMember { member }));
    }
    for member in ["jti", "htm", "htu", "iat", "ath"] {
        assert_eq!(scene.judge(&scene.with_claims(&json!({member: null}))), Err(ProofError::MissingMember { member }));
    }
    assert_eq!(scene.judge(&scene.with_claims(&json!({"jti": ""}))), Err(ProofError::MissingMember { member: "jti" }));
    for (member, value) in
        [("jti", json!(1)), ("htm", json!(["GET"])), ("iat", json!("1")), ("iat", json!(-1)), ("iat", json!(1e300))]
    {
        let error = scene.judge(&scene.with_claims(&json!({member: value}))).unwrap_err();
        assert!(matches!(error, ProofError::Malformed { .. }), "{member}: {error:?}");
    }
}

#[test]
fn section_4_3_check_4_rejects_other_types() {
    let scene = Scene::new();
    for typ in ["JWT", "at+jwt", "DPOP+JWT", "application/dpop+jwt", ""] {
        let error = scene.judge(&scene.with_header(&json!({"typ": typ}))).unwrap_err();
        assert_eq!(error, ProofError::WrongType { found: typ.into() });
    }
}

#[test]
fn section_4_3_check_5_rejects_algorithms_that_are_symmetric_or_not_accepted() {
    let scene = Scene::new();
    for alg in ["none", "None", "HS256", "RS256", "ES384", "eddsa", ""] {
        let error = scene.judge(&scene.with_header(&json!({"alg": alg}))).unwrap_err();
        assert_eq!(error, ProofError::UnsupportedAlgorithm { algorithm: alg.into() });
    }
    let (start, _) =
        scene.with_header(&json!({"alg": "none"})).rsplit_once('.').map(|(a, b)| (a.to_owned(), b.len())).unwrap();
    assert!(scene.judge(&format!("{start}.")).is_err());
}

#[test]
fn section_4_3_check_6_rejects_signature_that_does_not_verify() {
    let scene = Scene::new();
    let good = scene.good();
    let (start, signature) = good.rsplit_once('.').unwrap();
    let bytes = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
    for index in [0, 31, 32, 63] {
        let mut other = bytes.clone();
        other[index] ^= 1;
        assert_eq!(scene.judge(&format!("{start}.{}", encode(other))), Err(ProofError::BadSignature), "byte {index}");
    }
    // Other claims under the same signature.
    let (_, payload) = start.split_once('.').unwrap();
    let other = good.replace(payload, &encode(changed(scene.claims(), &json!({"jti": "two"})).to_string()));
    assert_eq!(scene.judge(&other), Err(ProofError::BadSignature));
    // Of a known sender too.
    assert_eq!(scene.judge(&good), Ok(()));
    assert_eq!(scene.judge(&other), Err(ProofError::BadSignature));
}

#[test]
fn section_4_3_check_7_rejects_private_keys_and_keys_of_other_types() {
    let scene = Scene::new();
    for member in ["d", "k", "p", "q", "dp", "dq", "qi", "oth"] {
        let jwk = changed(scene.jwk(), &json!({member: "AA"}));
        assert_eq!(scene.judge(&scene.with_header(&json!({"jwk": jwk}))), Err(ProofError::PrivateKey), "{member}");
        let null = scene.jwk().to_string().replace('{', &format!("{{\"{member}\":null,"));
        let header = scene.header().to_string().replace(&scene.jwk().to_string(), &null);
        assert_eq!(
            scene.judge(&signed_by(&scene.key, header, scene.claims().to_string())),
            Err(ProofError::PrivateKey)
        );
    }
    for changes in [
        json!({"kty": "EC"}),
        json!({"kty": "oct"}),
        json!({"kty": null}),
        json!({"crv": "X25519"}),
        json!({"crv": "Ed448"}),
        json!({"crv": null}),
        json!({"x": null}),
        json!({"x": "AA"}),
        json!({"x": format!("{}=", encode(scene.key.public_key().as_bytes()))}),
        json!({"use": "enc"}),
        json!({"key_ops": ["sign"]}),
        json!({"alg": "ES256"}),
    ] {
        let jwk = changed(scene.jwk(), &changes);
        assert_eq!(scene.judge(&scene.with_header(&json!({"jwk": jwk}))), Err(ProofError::InvalidKey), "{changes}");
    }
    for member in ["jku", "x5u", "x5c", "x5t", "x5t#S256"] {
        let error = scene.judge(&scene.with_header(&json!({member: "https://keys.example.com"}))).unwrap_err();
        assert_eq!(error, ProofError::OtherKey { member });
    }
    assert_eq!(scene.judge(&scene.with_header(&json!({"crit": ["exp"]}))), Err(ProofError::CriticalHeader));
    // RFC 7517 §4: other members are ignored.
    let jwk =
        changed(scene.jwk(), &json!({"use": "sig", "key_ops": ["verify"], "ext": true, "kid": "mine", "alg": "EdDSA"}));
    assert_eq!(scene.judge(&scene.with_header(&json!({"jwk": jwk, "kid": "mine"}))), Ok(()));
}

#[test]
fn section_4_3_check_7_rejects_key_of_small_order() {
    // The identity: any message has a signature under it. The token is bound to it by a careless issuer.
    let mut identity = [0; 32];
    identity[0] = 1;
    let scene = Scene::new();
    let token = scene.issuer.bound_token(&["read:data:*"], Thumbprint::of_ed25519(&identity));
    let header =
        json!({"typ": "dpop+jwt", "alg": "EdDSA", "jwk": {"kty": "OKP", "crv": "Ed25519", "x": encode(identity)}});
    let proof = scene.signed(&header, &changed(scene.claims(), &json!({"ath": ath(&token)})));
    let presented = PresentedToken::new(Scheme::Dpop, &token, "GET", "/records/7").proof(&proof);
    assert_eq!(proof_result(scene.present(&presented)), Err(ProofError::InvalidKey));
}

#[test]
fn section_4_3_check_8_rejects_proof_for_another_method() {
    let scene = Scene::new();
    for htm in ["POST", "get", "GET ", ""] {
        let error = scene.judge(&scene.with_claims(&json!({"htm": htm}))).unwrap_err();
        assert_eq!(error, ProofError::WrongMethod { found: htm.into() });
    }
}

#[test]
fn section_4_3_check_9_rejects_proof_for_another_url() {
    let scene = Scene::new();
    for htu in [
        "http://api.example.com/records/7",
        "https://api.example.com:8443/records/7",
        "https://api.example.org/records/7",
        "https://api.example.com/records/8",
        "https://api.example.com/records/7/",
        "https://api.example.com//records/7",
        "https://api.example.com/Records/7",
        "https://api.example.com/",
        "https://api.example.com.evil.example/records/7",
        "https://user@api.example.com/records/7",
        "/records/7",
        "records/7",
        "",
    ] {
        let error = scene.judge(&scene.with_claims(&json!({"htu": htu}))).unwrap_err();
        assert_eq!(error, ProofError::WrongUrl { found: htu.into() });
    }
}

#[test]
fn section_4_3_check_9_compares_urls_after_normalisation() {
    let scene = Scene::new();
    for (number, htu) in [
        "https://api.example.com/records/7?page=2",
        "https://api.example.com/records/7#top",
        "https://api.example.com/records/7?#",
        "HTTPS://API.Example.COM/records/7",
        "https://api.example.com:443/records/7",
        "https://api.example.com:/records/7",
        "https://api.example.com/a/../records/./7",
        "https://api.example.com/%72ecords/%37",
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(scene.judge(&scene.with_claims(&json!({"htu": htu, "jti": number.to_string()}))), Ok(()), "{htu}");
    }
}

#[test]
fn section_4_3_check_9_joins_external_url_and_path_behind_a_proxy() {
    let scene = Scene::with(|builder| builder.external_url("https://gateway.example.com/svc2/").unwrap());
    let judge = |jti: &str, htu: &str, path: &str| {
        let proof = scene.with_claims(&json!({"htu": htu, "jti": jti}));
        proof_result(scene.present(&PresentedToken::new(Scheme::Dpop, &scene.token, "GET", path).proof(&proof)))
    };
    let wrong = |htu: &str| Err(ProofError::WrongUrl { found: htu.into() });
    assert_eq!(judge("1", "https://gateway.example.com/svc2/records/7", "/records/7?page=2"), Ok(()));
    assert_eq!(judge("2", "https://api.example.com/records/7", "/records/7"), Ok(()));
    assert_eq!(judge("3", "https://gateway.example.com/svc2/", "/"), Ok(()));
    let other = "https://gateway.example.com/records/7";
    assert_eq!(judge("4", other, "/records/7"), wrong(other));
    // Neither climbs out of the prefix.
    let sibling = "https://gateway.example.com/svc1/records";
    assert_eq!(judge("5", sibling, "/../svc1/records"), Err(ProofError::AmbiguousPath));
    for path in
        ["/a/../records/7", "/./records/7", "/%2e%2E/records/7", "/records/..", "*", "records", "/a\\b", "/a b", "/%zz"]
    {
        assert_eq!(judge("6", other, path), Err(ProofError::AmbiguousPath), "{path}");
    }
}

/// A proxy passes on the host that the client chose.
#[test]
fn section_4_3_check_9_takes_prefix_but_no_origin_from_proxy() {
    let scene = Scene::new();
    let judge = |htu: &str, received_at: &str| {
        let proof = scene.with_claims(&json!({"htu": htu, "jti": format!("{htu} {received_at}")}));
        let received_at = ExternalUrl::parse(received_at).unwrap();
        proof_result(scene.present(&scene.request().proof(&proof).received_at(&received_at)))
    };
    let wrong = |htu: &str| Err(ProofError::WrongUrl { found: htu.into() });
    for origin in ["https://evil.example", "http://api.example.com", "https://api.example.com:8443"] {
        for prefix in ["", "/svc2"] {
            let (htu, received_at) = (format!("{origin}{prefix}/records/7"), format!("{origin}{prefix}"));
            assert_eq!(judge(&htu, &received_at), wrong(&htu));
            assert_eq!(judge(URL, &received_at), Ok(()), "{received_at}");
        }
    }
    let prefixed = "https://api.example.com/svc2/records/7";
    assert_eq!(judge(prefixed, "https://api.example.com/svc2"), Ok(()));
    assert_eq!(judge(URL, "https://api.example.com/svc2"), wrong(URL));
    assert_eq!(judge(prefixed, "https://api.example.com"), wrong(prefixed));
    assert_eq!(judge(URL, "https://api.example.com"), Ok(()));
}

#[test]
fn section_4_3_check_9_rejects_every_proof_without_external_url() {
    let scene = Scene::just_started(|builder| builder);
    let proofs = ProofVerifier::builder().without_external_url().clock(scene.issuer.clock().clone()).build();
    scene.issuer.clock().advance(Duration::from_secs(60));
    let good = scene.good();
    let result = scene.verifier.verify_presented(&scene.request().proof(&good), &proofs).map(drop);
    assert_eq!(proof_result(result), Err(ProofError::NoExternalUrl));
    let named = ExternalUrl::parse("https://api.example.com").unwrap();
    assert!(scene.verifier.verify_presented(&scene.request().proof(&good).received_at(&named), &proofs).is_ok());
}

#[test]
fn section_4_3_check_10_demands_nonce_of_this_service() {
    let key = NonceKey::from_bytes(&[5; 32]);
    let scene = Scene::with(|builder| builder.nonces(key.clone()));
    let error = scene.judge(&scene.good()).unwrap_err();
    assert_eq!((error.code(), error.reason()), ("use_dpop_nonce", "proof_nonce_required"));
    let nonce = error.nonce().unwrap().to_owned();
    let proof = scene.with_claims(&json!({"nonce": nonce}));
    assert_eq!(scene.judge(&proof), Ok(()));
    assert_eq!(scene.judge(&proof), Err(ProofError::Replayed));
    assert_eq!(
        scene.judge(&scene.with_claims(&json!({"nonce": nonce, "jti": "two"}))),
        Ok(()),
        "a nonce is not for once"
    );
    for other in [json!(""), json!("guess"), json!(format!("{nonce}A"))] {
        let error = scene.judge(&scene.with_claims(&json!({"nonce": other, "jti": "three"}))).unwrap_err();
        assert!(error.nonce().is_some(), "{other}: {error:?}");
    }
    let fresh = scene.proofs.fresh_nonce().unwrap();
    assert_eq!(scene.judge(&scene.with_claims(&json!({"nonce": fresh, "jti": "four"}))), Ok(()));
    // §8: it expires.
    scene.issuer.clock().advance(Duration::from_secs(61));
    assert!(scene.judge(&scene.with_claims(&json!({"nonce": fresh, "jti": "five"}))).unwrap_err().nonce().is_some());
    assert_eq!(Scene::new().proofs.fresh_nonce(), None);
}

#[test]
fn section_11_2_rejects_proof_made_in_advance_where_nonces_are_demanded() {
    let scene = Scene::with(|builder| builder.nonces(NonceKey::from_bytes(&[5; 32])));
    let soon = scene.now() + 300;
    let nonce = scene.proofs.fresh_nonce().unwrap();
    let prepared = scene.with_claims(&json!({"iat": soon, "nonce": nonce}));
    scene.issuer.clock().advance(Duration::from_secs(180));
    assert_eq!(scene.judge(&prepared), Err(ProofError::NotYetValid { by: Duration::from_secs(115) }));
    // The same with the right time: the nonce is too old.
    let prepared = scene.with_claims(&json!({"nonce": nonce}));
    assert!(scene.judge(&prepared).unwrap_err().nonce().is_some());
}

#[test]
fn instances_with_nonce_keys_of_their_own_accept_no_proof_for_each_other() {
    let scene = Scene::with(|builder| builder.nonces(NonceKey::from_bytes(&[5; 32])));
    let other = Scene::with(|builder| builder.nonces(NonceKey::from_bytes(&[6; 32])));
    let shared = Scene::with(|builder| builder.nonces(NonceKey::from_bytes(&[5; 32])));
    let proof = scene.with_claims(&json!({"nonce": scene.proofs.fresh_nonce().unwrap()}));
    assert_eq!(scene.judge(&proof), Ok(()));
    assert!(other.judge(&proof).unwrap_err().nonce().is_some());
    assert_eq!(shared.judge(&proof), Ok(()));
}

#[test]
fn section_4_3_check_11_accepts_iat_from_window_until_leeway() {
    let scene = Scene::with(|builder| builder.window(Duration::from_secs(30)));
    let now = scene.now();
    let judge = |iat: Value| scene.judge(&scene.with_claims(&json!({"iat": iat, "jti": iat.to_string()})));
    assert_eq!(judge(json!(now - 31)), Err(ProofError::TooOld { by: Duration::from_secs(1) }));
    assert_eq!(judge(json!(now + 6)), Err(ProofError::NotYetValid { by: Duration::from_secs(1) }));
    for iat in [now - 30, now, now + 5] {
        assert_eq!(judge(json!(iat)), Ok(()), "{iat}");
    }
    // RFC 7519 §2: a date may have a fraction.
    #[expect(clippy::cast_precision_loss, reason = "a date of this century is exact")]
    let fraction = now as f64 + 5.5;
    assert_eq!(judge(json!(fraction)), Ok(()));
    assert!(matches!(judge(json!(0)), Err(ProofError::TooOld { .. })));
    assert!(matches!(judge(json!(u64::MAX)), Err(ProofError::NotYetValid { .. })));
}

#[test]
fn rejects_proof_whose_exp_has_passed_or_whose_nbf_is_ahead() {
    let scene = Scene::new();
    let now = scene.now();
    let judge = |claims: Value| scene.judge(&scene.with_claims(&claims));
    assert_eq!(judge(json!({"exp": now})), Err(ProofError::TooOld { by: Duration::ZERO }));
    assert_eq!(judge(json!({"nbf": now + 6})), Err(ProofError::NotYetValid { by: Duration::from_secs(1) }));
    assert_eq!(judge(json!({"exp": now + 1, "nbf": now})), Ok(()));
}

#[test]
fn section_4_3_check_12_rejects_proof_for_another_token_or_by_another_key() {
    let scene = Scene::new();
    let second = scene.issuer.bound_token(&["read:data:*"], scene.key.public_key().thumbprint());
    assert_eq!(scene.judge(&scene.with_claims(&json!({"ath": ath(&second)}))), Err(ProofError::WrongToken));
    for other in [String::new(), ath(&scene.token)[1..].to_owned(), format!("{}=", ath(&scene.token))] {
        assert_eq!(scene.judge(&scene.with_claims(&json!({"ath": other}))), Err(ProofError::WrongToken));
    }
    let thief = Scene { key: SigningKey::from_seed(&[4; 32]).unwrap(), ..Scene::new() };
    assert_eq!(scene.judge(&thief.good()), Err(ProofError::WrongKey));
    // The agent's key in the header, signed by the thief.
    let forged = signed_by(&thief.key, scene.header().to_string(), scene.claims().to_string());
    assert_eq!(scene.judge(&forged), Err(ProofError::BadSignature));
}

#[test]
fn section_7_1_rejects_unbound_token_with_scheme_dpop() {
    let scene = Scene::new();
    let token = scene.issuer.token(&["read:data:*"]);
    let proof = scene.with_claims(&json!({"ath": ath(&token)}));
    let presented = PresentedToken::new(Scheme::Dpop, &token, "GET", "/records/7").proof(&proof);
    assert!(matches!(scene.present(&presented), Err(VerifyError::NotSenderConstrained { .. })));
    let bearer = PresentedToken::new(Scheme::Bearer, &token, "GET", "/records/7");
    assert_eq!(scene.present(&bearer), Ok(()));
    assert_eq!(scene.present(&bearer.clone().proof("junk")), Ok(()), "the proof of a bearer token means nothing");
    let strict = builder(&scene.issuer).require_proof().build();
    let error = scene.verifier.verify_presented(&bearer, &strict).unwrap_err();
    assert!(matches!(error, VerifyError::NotSenderConstrained { .. }));
    assert_eq!(error.reason(), "not_sender_constrained");
}

#[test]
fn section_7_2_rejects_bound_token_with_scheme_bearer_even_with_a_good_proof() {
    let scene = Scene::new();
    let good = scene.good();
    let key = scene.key.public_key().thumbprint();
    for presented in [
        PresentedToken::new(Scheme::Bearer, &scene.token, "GET", "/records/7"),
        PresentedToken::new(Scheme::Bearer, &scene.token, "GET", "/records/7").proof(&good).client_key(key),
    ] {
        let error = scene.present(&presented).unwrap_err();
        assert!(matches!(error, VerifyError::ProofRequired { .. }), "{error:?}");
        assert!(error.subject().is_some() && error.token_id().is_some(), "the audit needs to name the stolen token");
    }
    assert_eq!(scene.judge(&good), Ok(()));
}

#[test]
fn scheme_is_read_without_regard_to_case() {
    for (text, scheme) in
        [("DPoP", Some(Scheme::Dpop)), ("dpop", Some(Scheme::Dpop)), ("BEARER", Some(Scheme::Bearer)), ("Basic", None)]
    {
        assert_eq!(Scheme::parse(text), scheme);
    }
}

#[test]
fn rejects_good_proof_with_token_that_is_revoked() {
    let scene = Scene::new();
    let claims = scene.verifier.verify_without_proof(&scene.token).unwrap();
    scene.issuer.revoke(Level::Agent, &claims.sub.to_string());
    let good = scene.good();
    assert!(matches!(scene.present(&scene.request().proof(&good)), Err(VerifyError::Revoked { .. })));
}

#[test]
fn delegated_token_bound_to_delegate_is_useless_to_delegator() {
    let scene = Scene::new();
    let delegate = SigningKey::from_seed(&[8; 32]).unwrap();
    let delegator = scene.verifier.verify_without_proof(&scene.token).unwrap();
    let cnf = Some(SenderConstraint { jkt: delegate.public_key().thumbprint() });
    let token = scene.issuer.sign(&ClaimSet { cnf, ..scene.issuer.delegated(&delegator, &["read:data:7"]) });
    let request = PresentedToken::new(Scheme::Dpop, &token, "GET", "/records/7");
    let by_delegator = scene.with_claims(&json!({"ath": ath(&token)}));
    assert_eq!(proof_result(scene.present(&request.clone().proof(&by_delegator))), Err(ProofError::WrongKey));
    let scene = Scene { key: delegate, ..scene };
    let by_delegate = scene.with_claims(&json!({"ath": ath(&token)}));
    assert_eq!(proof_result(scene.present(&request.proof(&by_delegate))), Ok(()));
}

#[test]
fn client_key_of_tls_connection_takes_the_place_of_a_proof() {
    let scene = Scene::new();
    let own = scene.request().client_key(scene.key.public_key().thumbprint());
    assert_eq!(scene.present(&own), Ok(()));
    assert_eq!(scene.present(&own), Ok(()), "each request of the connection");
    let other = Thumbprint::of_ed25519(&[4; 32]);
    assert_eq!(proof_result(scene.present(&scene.request().client_key(other))), Err(ProofError::Missing));
    let good = scene.good();
    assert_eq!(proof_result(scene.present(&scene.request().client_key(other).proof(&good))), Ok(()));
    let unbound = scene.issuer.token(&["read:data:*"]);
    let presented = PresentedToken::new(Scheme::Dpop, &unbound, "GET", "/").client_key(other);
    assert!(matches!(scene.present(&presented), Err(VerifyError::NotSenderConstrained { .. })));
}

#[test]
fn section_11_1_rejects_replay() {
    let scene = Scene::new();
    let good = scene.good();
    assert_eq!(scene.judge(&good), Ok(()));
    for _ in 0..3 {
        assert_eq!(scene.judge(&good), Err(ProofError::Replayed));
    }
    // The same `jti` in another proof of this key.
    assert_eq!(scene.judge(&scene.with_claims(&json!({"iat": scene.now() - 1}))), Err(ProofError::Replayed));
    // Another client may happen to choose the same `jti`.
    let other = Scene { key: SigningKey::from_seed(&[4; 32]).unwrap(), ..Scene::new() };
    let token = scene.issuer.bound_token(&["read:data:*"], other.key.public_key().thumbprint());
    let proof = other.with_claims(&json!({"ath": ath(&token)}));
    let presented = PresentedToken::new(Scheme::Dpop, &token, "GET", "/records/7").proof(&proof);
    assert_eq!(proof_result(scene.present(&presented)), Ok(()));
    // A clone shares the table.
    let clone = scene.proofs.clone();
    assert!(scene.verifier.verify_presented(&scene.request().proof(&good), &clone).is_err());
}

#[test]
fn section_11_1_rejects_replay_after_clock_is_set_back() {
    let scene = Scene::new();
    let good = scene.good();
    assert_eq!(scene.judge(&good), Ok(()));
    scene.issuer.clock().advance(Duration::from_secs(120));
    assert!(matches!(scene.judge(&good), Err(ProofError::TooOld { .. })));
    scene.issuer.clock().set(scene.issuer.clock().now().saturating_sub(Duration::from_secs(120)));
    assert_eq!(scene.judge(&good), Err(ProofError::Replayed));
}

#[test]
fn replay_across_a_restart_is_rejected() {
    let scene = Scene::new();
    scene.issuer.clock().advance(Duration::from_secs(60));
    let judge = |proofs: &ProofVerifier, proof: &str| {
        proof_result(scene.verifier.verify_presented(&scene.request().proof(proof), proofs).map(drop))
    };
    // Signed by clients whose clocks are late, right and ahead by as much as is allowed.
    let accepted: Vec<String> = [scene.now() - 60, scene.now() - 1, scene.now(), scene.now() + 5]
        .map(|iat| scene.with_claims(&json!({"iat": iat, "jti": iat.to_string()})))
        .into();
    for proof in &accepted {
        assert_eq!(judge(&scene.proofs, proof), Ok(()));
    }
    let restarted = builder(&scene.issuer).build();
    for _ in 0..70 {
        for proof in &accepted {
            let error = judge(&restarted, proof).unwrap_err();
            assert!(matches!(error, ProofError::NonceRequired { .. } | ProofError::TooOld { .. }), "{error:?}");
        }
        scene.issuer.clock().advance(Duration::from_secs(1));
    }
}

#[test]
fn replay_across_a_restart_with_a_late_clock_is_rejected() {
    let scene = Scene::new();
    let good = scene.good();
    assert_eq!(scene.judge(&good), Ok(()));
    let now = scene.issuer.clock().now();
    // The machine starts in the past, and learns the time a moment later.
    scene.issuer.clock().set(now.saturating_sub(Duration::from_secs(86_400)));
    let restarted = builder(&scene.issuer).build();
    scene.issuer.clock().set(now);
    scene.issuer.clock().advance(Duration::from_secs(1));
    let again = scene.verifier.verify_presented(&scene.request().proof(&good), &restarted).map(drop);
    assert!(proof_result(again).unwrap_err().nonce().is_some());
}

#[test]
fn proof_with_nonce_of_this_process_is_accepted_right_after_the_start() {
    let scene = Scene::just_started(|builder| builder);
    let nonce = scene.judge(&scene.good()).unwrap_err().nonce().unwrap().to_owned();
    let proof = scene.with_claims(&json!({"nonce": nonce}));
    assert_eq!(scene.judge(&proof), Ok(()));
    assert_eq!(scene.judge(&proof), Err(ProofError::Replayed));
    // Not after the next start.
    let restarted = builder(&scene.issuer).build();
    let again = scene.verifier.verify_presented(&scene.request().proof(&proof), &restarted).map(drop);
    assert!(proof_result(again).unwrap_err().nonce().is_some());
    // Without a nonce from the first moment that no proof before the start can name.
    scene.issuer.clock().advance(Duration::from_secs(1));
    let made_at = |iat: u64| scene.with_claims(&json!({"iat": iat, "jti": iat.to_string()}));
    assert_eq!(scene.judge(&made_at(scene.now() + 5)), Ok(()));
    assert!(scene.judge(&made_at(scene.now() + 4)).unwrap_err().nonce().is_some());
}

#[test]
fn restart_with_shared_nonces_demands_nonce_of_the_new_process() {
    let key = NonceKey::from_bytes(&[5; 32]);
    let scene = Scene::with(|builder| builder.nonces(key.clone()));
    let proof = scene.with_claims(&json!({"nonce": scene.proofs.fresh_nonce().unwrap()}));
    assert_eq!(scene.judge(&proof), Ok(()));
    let restarted = builder(&scene.issuer).nonces(key).build();
    let judge = |proof: &str| {
        proof_result(scene.verifier.verify_presented(&scene.request().proof(proof), &restarted).map(drop))
    };
    let nonce = judge(&proof).unwrap_err().nonce().unwrap().to_owned();
    assert_eq!(judge(&scene.with_claims(&json!({"nonce": nonce, "jti": "two"}))), Ok(()));
}

#[test]
fn section_5_accepts_proof_without_token_by_the_expected_key() {
    let scene = Scene::new();
    let own = scene.key.public_key().thumbprint();
    let good = scene.with_claims(&json!({"ath": null}));
    let presented = PresentedProof::new("GET", "/records/7").proof(&good);
    assert_eq!(
        scene.proofs.verify_proof(&presented, Some(&Thumbprint::of_ed25519(&[4; 32]))),
        Err(ProofError::WrongKey)
    );
    assert_eq!(scene.proofs.verify_proof(&presented, Some(&own)), Ok(own));
    assert_eq!(scene.proofs.verify_proof(&presented, Some(&own)), Err(ProofError::Replayed));
    let second = scene.with_claims(&json!({"ath": null, "jti": "two"}));
    assert_eq!(scene.proofs.verify_proof(&PresentedProof::new("GET", "/records/7").proof(&second), None), Ok(own));
    assert_eq!(scene.proofs.verify_proof(&PresentedProof::new("GET", "/records/7"), None), Err(ProofError::Missing));
}

#[test]
fn makes_proofs_that_are_accepted() {
    let scene = Scene::with(|builder| builder.nonces(NonceKey::from_bytes(&[5; 32])));
    let key = ed25519_dalek::SigningKey::from_bytes(&KEY);
    let now = scene.issuer.clock().now();
    let url = "https://user:secret@api.example.com/records/7?token=secret#top";
    let request = ProofRequest::new("GET", url, now, [1; 16]).access_token(&scene.token);
    let nonce = scene.judge(&request.sign(&key)).unwrap_err().nonce().unwrap().to_owned();
    let proof = request.nonce(&nonce).sign(&key);
    assert_eq!(scene.judge(&proof), Ok(()));
    assert_eq!(
        scene.judge(&ProofRequest::new("GET", URL, now, [1; 16]).access_token(&scene.token).nonce(&nonce).sign(&key)),
        Err(ProofError::Replayed)
    );
    let payload: Value =
        serde_json::from_slice(&BASE64URL_NOPAD.decode(proof.split('.').nth(1).unwrap().as_bytes()).unwrap()).unwrap();
    assert_eq!(
        payload,
        json!({"jti": encode([1; 16]), "htm": "GET", "htu": URL, "iat": now.seconds(), "ath": ath(&scene.token), "nonce": nonce})
    );
}

#[test]
fn messages_and_debug_output_contain_no_credentials() {
    let scene = Scene::new();
    let good = scene.good();
    let shown = format!("{:?} {:?} {:?}", scene.request().proof(&good), scene.proofs, NonceKey::from_bytes(&[5; 32]));
    let signature = good.rsplit_once('.').unwrap().1;
    assert!(
        !shown.contains(&scene.token)
            && !shown.contains(signature)
            && !shown.contains('5'.to_string().repeat(3).as_str()),
        "{shown}"
    );
    let request = ProofRequest::new("GET", "https://u:p@h/?q=secret", scene.issuer.clock().now(), [1; 16])
        .access_token(&scene.token);
    let shown = format!("{request:?}");
    assert!(!shown.contains("secret") && !shown.contains(&scene.token) && !shown.contains("u:p"), "{shown}");
}

#[test]
fn accepts_proof_again_only_for_request_that_it_was_accepted_for() {
    let scene = Scene::new();
    let other_table = builder(&scene.issuer).build();
    scene.issuer.clock().advance(Duration::from_secs(6));
    let (proof, other_proof) = (scene.good(), scene.with_claims(&json!({"jti": "two"})));
    let verify = |presented: &PresentedToken<'_>, proofs: &ProofVerifier| {
        scene.verifier.verify_presented_token(presented, proofs)
    };
    let request = scene.request().proof(&proof);
    let outer = verify(&request, &scene.proofs).unwrap();
    let middle = verify(&request.clone().verified_before(&outer), &other_table).unwrap();
    let inner = request.clone().verified_before(&middle);
    assert!(verify(&inner, &scene.proofs).is_ok() && verify(&inner, &other_table).is_ok());

    let replayed = |presented: &PresentedToken<'_>, proofs| {
        proof_result(verify(presented, proofs).map(drop)) == Err(ProofError::Replayed)
    };
    assert!(replayed(&request, &scene.proofs) && replayed(&request, &other_table), "as another request");
    let of_other = verify(&scene.request().proof(&other_proof), &scene.proofs).unwrap();
    assert!(replayed(&request.clone().verified_before(&of_other), &scene.proofs), "beside another request");
    assert!(replayed(&request.verified_before(&outer), &other_table), "where another verifier accepted it");
}

#[test]
fn verified_token_has_proof_that_was_accepted_with_it_and_none_of_outer_token() {
    let scene = Scene::new();
    let proof = scene.good();
    let request = scene.request().proof(&proof);
    let verified = scene.verifier.verify_presented_token(&request, &scene.proofs).unwrap();
    let accepted = verified.accepted_proof().unwrap();
    let (signed, signature) = proof.rsplit_once('.').unwrap();
    assert_eq!((accepted.signing_input(), accepted.issued_at()), (signed, UnixTime::from_seconds(scene.now())));
    assert!(!format!("{accepted:?}").contains(signature));

    let unbound = scene.issuer.token(&["read:data:7"]);
    let bearer = PresentedToken::new(Scheme::Bearer, &unbound, "GET", "/").verified_before(&verified);
    let inner = scene.verifier.verify_presented_token(&bearer, &scene.proofs).unwrap();
    assert!(inner.accepted_proof().is_none());
}

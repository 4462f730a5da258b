//! Reasons of rejections: in the response's extensions and in the log, not in the response.

use std::time::Duration;

use agentwrit_tower::verify::issue::SigningKey;
use agentwrit_tower::verify::testing::TestIssuer;
use agentwrit_tower::verify::{Level as Revoked, Scope, TrustedKeys, Verifier, VerifyError};
use agentwrit_tower::{CredentialsError, Misconfiguration, MissingScope, Rejection, RequireScope, RequireScopeService};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tower_layer::Layer;
use tracing::Level;

use crate::support::{CollectedResponse, Inner, Log, Plain, bearer, get, get_without_token, send};

fn protected(issuer: &TestIssuer) -> RequireScopeService<Plain> {
    RequireScope::new("read:data:7").verifier(issuer.verifier()).layer(Inner::default().service())
}

/// Returns the response and the events that were logged.
async fn observed(
    service: &RequireScopeService<Plain>,
    request: Request<Full<Bytes>>,
) -> (CollectedResponse, Vec<(Level, String)>) {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let response = send(service, request).await;
    (response, log.lines())
}

fn rejection(response: &CollectedResponse) -> &Rejection {
    response.extensions.get().expect("a rejection in the response's extensions")
}

#[tokio::test]
async fn logs_missing_token_at_debug() {
    let (response, log) = observed(&protected(&TestIssuer::new()), get_without_token("/")).await;
    assert_eq!(rejection(&response), &Rejection::NoToken(CredentialsError::Missing));
    assert_eq!((rejection(&response).reason(), rejection(&response).subject()), ("no_token", None));
    assert_eq!(
        log,
        [(
            Level::DEBUG,
            "message=refused: no bearer token was presented request_id=\"req-1\" outcome=\"refused\" \
             reason=\"no_token\" cause=there is no token"
                .to_owned()
        )]
    );
}

#[tokio::test]
async fn logs_subject_of_expired_token() {
    let issuer = TestIssuer::new();
    let claims = issuer.claims(&["read:data:7"]);
    let token = issuer.sign(&claims);
    issuer.clock().advance(Duration::from_secs(301));
    let (response, log) = observed(&protected(&issuer), get("/", &bearer(&token))).await;
    let expired =
        VerifyError::Expired { by: Duration::from_secs(1), subject: claims.sub.clone(), token_id: claims.jti };
    assert_eq!(rejection(&response), &Rejection::InvalidToken(expired));
    assert_eq!(
        (rejection(&response).subject(), rejection(&response).token_id()),
        (Some(&claims.sub), Some(claims.jti))
    );
    assert!(log.iter().all(|(_, line)| !line.contains(&token)), "a log holds no token: {log:?}");
}

#[tokio::test]
async fn logs_no_subject_of_forged_token() {
    let issuer = TestIssuer::new();
    let forged = SigningKey::from_seed(&[8; 32]).unwrap().sign_token(&issuer.claims(&["read:data:7"]));
    let (response, _) = observed(&protected(&issuer), get("/", &bearer(&forged))).await;
    assert!(matches!(rejection(&response), Rejection::InvalidToken(VerifyError::UnknownKey { .. })));
    assert_eq!((rejection(&response).subject(), rejection(&response).token_id()), (None, None));
}

#[tokio::test]
async fn logs_missing_keys_as_warning() {
    let verifier = Verifier::builder().issuer(TestIssuer::ISSUER).keys(TrustedKeys::following(None));
    let service = RequireScope::new("read:data:7")
        .verifier(verifier.without_revocations().build())
        .layer(Inner::default().service());
    let (response, log) = observed(&service, get("/", &bearer(&TestIssuer::new().token(&["read:data:7"])))).await;
    assert_eq!(rejection(&response), &Rejection::Unavailable(VerifyError::KeysUnavailable));
    assert_eq!(
        log,
        [(
            Level::WARN,
            "message=refused: tokens cannot be verified at present request_id=\"req-1\" \
             outcome=\"refused\" reason=\"keys_unavailable\" cause=no key set has been loaded yet"
                .to_owned()
        )]
    );
}

#[tokio::test]
async fn logs_subject_of_revoked_token() {
    let issuer = TestIssuer::new();
    let claims = issuer.claims(&["read:data:7"]);
    issuer.revoke(Revoked::Token, &claims.jti.to_string());

    let (response, log) = observed(&protected(&issuer), get("/", &bearer(&issuer.sign(&claims)))).await;
    assert!(matches!(rejection(&response), Rejection::InvalidToken(VerifyError::Revoked { .. })));
    assert_eq!(rejection(&response).subject(), Some(&claims.sub));
    assert_eq!(rejection(&response).token_id(), Some(claims.jti));
    let subject = claims.sub.to_string();
    assert!(matches!(&*log, [(Level::DEBUG, line)] if line.contains(&subject)), "{log:?}");
    assert!(!String::from_utf8_lossy(&response.body).contains("revoked"));
}

#[tokio::test]
async fn logs_subject_and_required_scope_when_insufficient() {
    let issuer = TestIssuer::new();
    let claims = issuer.claims(&["read:data:8"]);
    let (response, _) = observed(&protected(&issuer), get("/", &bearer(&issuer.sign(&claims)))).await;
    let Rejection::InsufficientScope { required, missing, verified, .. } = rejection(&response) else {
        panic!("{response:?}")
    };
    assert_eq!(required, &[Scope::parse("read:data:7").unwrap()]);
    assert_eq!(missing, &MissingScope::All(required.clone()));
    assert_eq!(verified.as_claim_set(), &claims);
    assert_eq!(rejection(&response).reason(), "insufficient_scope");
    assert_eq!(rejection(&response).subject(), Some(&claims.sub));
    assert_eq!(rejection(&response).token_id(), Some(claims.jti));
}

#[tokio::test]
async fn logs_missing_layer_as_error_with_path() {
    let service = RequireScope::new("read:data:7").layer(Inner::default().service());
    let (response, log) = observed(&service, get_without_token("/data/7")).await;
    assert_eq!(rejection(&response), &Rejection::Misconfigured(Misconfiguration::NoVerifier));
    assert_eq!(
        log,
        [(
            Level::ERROR,
            "message=refused: no verifier here and no `Authenticate` layer around it request_id=\"req-1\" \
             path=\"/data/7\" outcome=\"refused\" reason=\"missing_layer\""
                .to_owned()
        )]
    );
}

#[tokio::test]
async fn logs_accepted_request_at_debug_without_rejection() {
    let issuer = TestIssuer::new();
    let claims = issuer.claims(&["read:data:*"]);
    let (response, log) = observed(&protected(&issuer), get("/", &bearer(&issuer.sign(&claims)))).await;
    assert!(response.extensions.get::<Rejection>().is_none());
    let line = format!("message=accepted agent={} task=task scope=read:data:7 outcome=\"accepted\"", claims.sub);
    assert_eq!(log, [(Level::DEBUG, line)]);
}

#[tokio::test]
async fn logs_subject_of_request_with_bad_identifier() {
    let issuer = TestIssuer::new();
    let service = RequireScope::new("read:data:{id}").path("/{id}").verifier(issuer.verifier());
    let claims = issuer.claims(&["read:data:*"]);
    let request = get("/%2A", &bearer(&issuer.sign(&claims)));
    let (_, log) = observed(&service.layer(Inner::default().service()), request).await;
    let line = format!(
        "message=refused: the path's `id` is not an identifier request_id=\"req-1\" agent={} task=task \
         outcome=\"refused\" reason=\"bad_identifier\" cause=`*` stands for every identifier and may be only the whole \
         third part, not in the identifier",
        claims.sub
    );
    assert_eq!(log, [(Level::DEBUG, line)]);
}

//! The document's schemas against the types of agentwrit-protocol, member by member.

use std::collections::BTreeSet;

use agentwrit_protocol::{
    AdminAuthRequest, AgentRecord, AppAuthRequest, AppCreationRequest, AppCreationResponse, AppDeregistrationResponse,
    AppListResponse, AppRecord, AppUpdateRequest, AuthResponse, ChallengeResponse, DelegationRequest,
    DelegationResponse, Event, HealthResponse, JsonRequest, KeyChangeRequest, LaunchTokenPolicy, LaunchTokenRecord,
    LaunchTokenRequest, LaunchTokenResponse, ListEntry, ListResponse, Problem, RegistrationRequest,
    RegistrationResponse, RenewalResponse, RevocationRecord, RevocationRequest, RevocationResponse,
    SecretRotationRequest, SecretRotationResponse, SigningKeyRecord, TokenRecord, TrustRuleRecord, TrustRuleRequest,
    ValidationRequest, ValidationResponse, VerifierEnrolmentRequest, VerifierInstance, VerifierRecord,
    VerifierUpdateRequest,
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error as _, Visitor, value::Error},
    forward_to_deserialize_any,
};
use serde_json::{Value, json};

use super::document::Document;

/// Records the members that a derived `Deserialize` reads, and reads none.
struct MemberProbe<'p>(&'p mut &'static [&'static str]);

impl<'de> Deserializer<'de> for MemberProbe<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("not a struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        members: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        *self.0 = members;
        Err(Error::custom("members are known"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn members_of<T: for<'de> Deserialize<'de>>() -> BTreeSet<&'static str> {
    let mut members: &[&str] = &[];
    assert!(T::deserialize(MemberProbe(&mut members)).is_err());
    assert!(!members.is_empty());
    members.iter().copied().collect()
}

/// Members of a schema, and of the schemas that it is one of or extends.
fn properties(document: &Document, schema: &Value) -> BTreeSet<String> {
    let schema = document.resolve(schema);
    let own = schema["properties"].as_object().into_iter().flat_map(|properties| properties.keys().cloned());
    let parts = ["allOf", "oneOf", "anyOf"].into_iter().filter_map(|name| schema[name].as_array()).flatten();
    own.chain(parts.flat_map(|part| properties(document, part))).collect()
}

fn schema<'d>(document: &'d Document, name: &str) -> &'d Value {
    let schema = &document.root["components"]["schemas"][name];
    assert!(schema.is_object(), "no schema `{name}`");
    schema
}

fn check_response<T: for<'de> Deserialize<'de>>(document: &Document, names: &[&str]) {
    check_response_without::<T>(document, names, &[]);
}

/// Like [`check_response`], for a type with members that this broker does not send: they are not documented.
fn check_response_without<T: for<'de> Deserialize<'de>>(document: &Document, names: &[&str], unsent: &[&str]) {
    let documented: BTreeSet<String> =
        names.iter().flat_map(|name| properties(document, schema(document, name))).collect();
    let mut members = members_of::<T>();
    for member in unsent {
        assert!(members.remove(member), "{names:?}: there is no member `{member}`");
    }
    assert_eq!(documented.iter().map(String::as_str).collect::<BTreeSet<_>>(), members, "{names:?}");
}

fn check_list<T: ListEntry + Serialize>(document: &Document, name: &str) {
    let response: ListResponse<T> = ListResponse::new(Vec::new(), 0, 100, 0, Some(String::from("1")));
    let written = json!(response);
    let written: BTreeSet<&String> = written.as_object().unwrap().keys().collect();
    assert_eq!(properties(document, schema(document, name)).iter().collect::<BTreeSet<_>>(), written, "{name}");
}

/// Each documented member is read: a value of a wrong type is an error that names it. Each member that is written is
/// documented.
fn check_request<T: JsonRequest + Serialize>(document: &Document, name: &str) {
    let schema = schema(document, name);
    let documented = properties(document, schema);
    let example = schema["examples"][0].as_object().unwrap();
    for member in &documented {
        let mut body = example.clone();
        body.insert(member.clone(), json!({}));
        let error = T::from_json(json!(body).to_string().as_bytes()).err().map(|error| error.to_string());
        assert!(error.as_ref().is_some_and(|error| error.starts_with(&format!("{member}: "))), "{name}: {error:?}");
    }
    let request = T::from_json(json!(example).to_string().as_bytes()).unwrap();
    let written = json!(request);
    for member in written.as_object().unwrap().keys() {
        assert!(documented.contains(member), "{name}: `{member}` is not documented");
    }
}

#[test]
fn schemas_of_responses_have_members_of_types() {
    let document = Document::load();
    check_response::<AuthResponse>(&document, &["AdminToken", "AppToken"]);
    check_response::<ChallengeResponse>(&document, &["Challenge"]);
    check_response::<RegistrationResponse>(&document, &["RegisteredAgent"]);
    check_response::<RenewalResponse>(&document, &["RenewedToken"]);
    check_response::<DelegationResponse>(&document, &["DelegatedToken"]);
    check_response::<ValidationResponse>(&document, &["Validation"]);
    check_response::<LaunchTokenResponse>(&document, &["IssuedLaunchToken"]);
    check_response::<LaunchTokenRecord>(&document, &["LaunchToken"]);
    check_response::<AppRecord>(&document, &["App"]);
    check_response::<AppCreationResponse>(&document, &["CreatedApp"]);
    check_response::<AppListResponse>(&document, &["Apps"]);
    check_response::<SecretRotationResponse>(&document, &["RotatedSecret"]);
    check_response::<TokenRecord>(&document, &["TokenRecord"]);
    check_response::<AppDeregistrationResponse>(&document, &["DeregisteredApp"]);
    check_response::<RevocationResponse>(&document, &["RevocationResult"]);
    check_response::<SigningKeyRecord>(&document, &["SigningKey"]);
    check_response::<RevocationRecord>(&document, &["Revocation"]);
    check_response::<AgentRecord>(&document, &["Agent"]);
    check_response::<TrustRuleRecord>(&document, &["TrustRule"]);
    check_response::<VerifierRecord>(&document, &["Verifier"]);
    check_response::<VerifierInstance>(&document, &["VerifierInstance"]);
    check_response::<Event>(&document, &["AuditEvent"]);
    check_response::<HealthResponse>(&document, &["Health"]);
    check_response::<Problem>(&document, &["Problem"]);
    let policy = &schema(&document, "IssuedLaunchToken")["properties"]["policy"];
    let policy = properties(&document, policy);
    assert_eq!(policy.iter().map(String::as_str).collect::<BTreeSet<_>>(), members_of::<LaunchTokenPolicy>());
    check_list::<LaunchTokenRecord>(&document, "LaunchTokens");
    check_list::<SigningKeyRecord>(&document, "SigningKeys");
    check_list::<RevocationRecord>(&document, "Revocations");
    check_list::<AgentRecord>(&document, "Agents");
    check_list::<TokenRecord>(&document, "Tokens");
    check_list::<TrustRuleRecord>(&document, "TrustRules");
    check_list::<VerifierRecord>(&document, "Verifiers");
    check_list::<Event>(&document, "AuditEvents");
}

#[test]
fn schemas_of_requests_have_members_of_types() {
    let document = Document::load();
    check_request::<AdminAuthRequest>(&document, "AdminCredentials");
    check_request::<AppAuthRequest>(&document, "AppCredentials");
    check_request::<RegistrationRequest>(&document, "Registration");
    check_request::<ValidationRequest>(&document, "TokenToValidate");
    check_request::<DelegationRequest>(&document, "Delegation");
    check_request::<LaunchTokenRequest>(&document, "LaunchPolicy");
    check_request::<AppCreationRequest>(&document, "NewApp");
    check_request::<TrustRuleRequest>(&document, "NewTrustRule");
    check_request::<VerifierEnrolmentRequest>(&document, "NewVerifier");
    check_request::<VerifierUpdateRequest>(&document, "VerifierUpdate");
    check_request::<AppUpdateRequest>(&document, "AppChange");
    check_request::<SecretRotationRequest>(&document, "SecretRotation");
    check_request::<KeyChangeRequest>(&document, "KeyChange");
    check_request::<RevocationRequest>(&document, "RevocationRequest");
}

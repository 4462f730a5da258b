//! Proofs of sender-constrained tokens: `cargo bench -p agentwrit-bench --bench proofs`.
//!
//! 1. Every request has a new proof, signed before the measurement; the token is the same and was seen before.
//! 2. The reference for a proof is the verification of a seen bearer token and one raw dalek `verify` of the same proof.
//! 3. Junk is refused before the signature is checked.
//! 4. The replay table of requests is small, so that the first use of its memory is not measured. A table of the default size
//!    is measured alone, full: each record replaces another.

use std::{
    error::Error,
    io::{self, Write as _},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use agentwrit_bench::{
    bound::{made_at, verifies},
    report::{Bound, Target, table, verdicts},
    rounds::{Contender, Schedule, Series, as_float},
};
use agentwrit_verify::{
    Clock as _, PublicKey, Thumbprint, Verifier,
    proof::{PresentedToken, ProofRequest, ProofVerifier, ProofVerifierBuilder, Replay, ReplayTable, Scheme},
    testing::TestIssuer,
};
use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{SigningKey, VerifyingKey};

const URL: &str = "https://api.example.com/records/patient-104277";
const PATH: &str = "/records/patient-104277";
/// New proofs in a round.
const FRESH: usize = 20;
const ROUNDS: usize = 500;
/// Repetitions of one junk proof in a round.
const JUNK: usize = 500;
/// Records in a round.
const RECORDS: usize = 5_000;

fn main() -> Result<(), Box<dyn Error>> {
    let bench = Bench::new()?;
    let mut out = io::stdout().lock();
    let lengths = (bench.token.len(), bench.proofs.first().map_or(0, String::len));
    writeln!(out, "tokens of {} bytes, proofs of {}; {ROUNDS} rounds, interleaved", lengths.0, lengths.1)?;

    let accepted = bench.accepted();
    table(&mut out, "A request with a new proof, one thread (ratio to the first)", &accepted)?;
    let junk = bench.junk()?;
    table(&mut out, "A request with junk for a proof, one thread", &junk)?;
    let (records, bytes) = records();
    table(&mut out, "A full replay table, one thread", &records)?;
    writeln!(out, "\n{bytes:.1} bytes for each proof")?;

    let mut targets = Vec::new();
    if let [own, reference, ..] = accepted.as_slice() {
        let measured = own.ratio_to(reference);
        targets.push(Target {
            name: "a proof, in terms of a seen token and dalek",
            measured,
            bound: Bound::AtMost(1.25),
        });
    }
    let slowest = junk.iter().map(Series::median).fold(0.0, f64::max) / 1_000.0;
    targets.push(Target { name: "the slowest junk, in microseconds", measured: slowest, bound: Bound::AtMost(5.0) });
    if let [record, _, jti] = records.as_slice() {
        let measured = record.median() - jti.median();
        targets.push(Target { name: "a record, in nanoseconds", measured, bound: Bound::AtMost(100.0) });
    }
    targets.push(Target { name: "bytes for each proof", measured: bytes, bound: Bound::AtMost(24.0) });
    verdicts(&mut out, &targets)?;
    Ok(())
}

struct Bench {
    issuer: TestIssuer,
    verifier: Verifier,
    key: SigningKey,
    public: VerifyingKey,
    token: String,
    bearer: String,
    proofs: Vec<String>,
}

impl Bench {
    fn new() -> Result<Self, Box<dyn Error>> {
        let issuer = TestIssuer::new();
        let key = SigningKey::from_bytes(&[3; 32]);
        let public = PublicKey::from_bytes(key.verifying_key().as_bytes())?;
        let scopes = ["read:records:patient-104277", "write:notes:patient-104277", "read:labresults:*"];
        let token = issuer.bound_token(&scopes, public.thumbprint());
        let bearer = issuer.token(&scopes);
        issuer.clock().advance(Duration::from_secs(60));
        let verifier = issuer.verifier();
        // A token is cached from its second verification on.
        for _ in 0..2 {
            verifier.verify(&bearer)?;
            verifier.verify_without_proof(&token)?;
        }
        let now = issuer.clock().now();
        let count = (FRESH * (ROUNDS + 1)) as u128;
        let proofs = (0..count).map(|number| {
            let proof = ProofRequest::new("GET", URL, made_at(now, number, count), number.to_be_bytes());
            proof.access_token(&token).sign(&key)
        });
        let proofs = proofs.collect();
        let public = key.verifying_key();
        Ok(Self { issuer, verifier, key, public, token, bearer, proofs })
    }

    /// Returns a service that was started a minute ago.
    fn service(&self) -> Option<ProofVerifier> {
        let clock = self.issuer.clock();
        clock.set(clock.now().saturating_sub(Duration::from_secs(60)));
        let builder = ProofVerifier::builder().external_url("https://api.example.com").ok()?;
        // A table of a megabyte: that of a service which has run for a while has its memory from the system.
        let service = builder.replay_capacity(40_000).clock(clock.clone()).build();
        clock.advance(Duration::from_secs(60));
        Some(service)
    }

    fn proof(&self, number: usize) -> &str {
        self.proofs.get(number).map_or("", String::as_str)
    }

    fn is_accepted(&self, service: &ProofVerifier, proof: &str) -> bool {
        let presented = PresentedToken::new(Scheme::Dpop, &self.token, "GET", PATH).proof(proof);
        self.verifier.verify_presented(&presented, service).is_ok()
    }

    fn verifies(&self, proof: &str) -> bool {
        verifies(&self.public, proof)
    }

    fn accepted(&self) -> Vec<Series> {
        let service = self.service();
        let contenders = [
            Contender::new("verify_presented", |n| {
                service.as_ref().is_some_and(|service| self.is_accepted(service, self.proof(n)))
            }),
            Contender::new("a seen bearer token, and dalek `verify`", |n| {
                self.verifier.verify(&self.bearer).is_ok() && self.verifies(self.proof(n))
            }),
            Contender::new("ed25519-dalek 3, `verify` alone", |n| self.verifies(self.proof(n))),
        ];
        let fresh = |round: usize| (round * FRESH..(round + 1) * FRESH).collect();
        Schedule { rounds: ROUNDS, threads: 1 }.measure(&contenders, fresh)
    }

    fn junk(&self) -> Result<Vec<Series>, Box<dyn Error>> {
        let service = self.service().ok_or("no service")?;
        let now = self.issuer.clock().now();
        let made = |method, url, token: &str, key: &SigningKey| {
            ProofRequest::new(method, url, now, [255; 16]).access_token(token).sign(key)
        };
        let other_key = made("GET", URL, &self.token, &SigningKey::from_bytes(&[4; 32]));
        let other_url = made("GET", "https://api.example.org/records/patient-104277", &self.token, &self.key);
        let other_token = made("GET", URL, &self.bearer, &self.key);
        let text = "A".repeat(2_048);
        let part = |json: String| BASE64URL_NOPAD.encode(json.as_bytes());
        let members = |count| {
            let members: Vec<String> = (0..count).map(|number| format!("\"{number}\":0")).collect();
            part(format!("{{{}}}", members.join(",")))
        };
        let signature = "A".repeat(86);
        let (many, some) = (format!("{}.e30.{signature}", members(150)), format!("{}.e30.{signature}", members(31)));
        let list = format!("{}.e30.{signature}", part(format!("{{\"a\":[{}0]}}", "0,".repeat(120))));
        let own_header = self.proof(0).split('.').next().unwrap_or_default();
        let claims = format!("{own_header}.{}.{signature}", members(31));
        let other_rounds = self.proof(0);
        // From here on the sender is known.
        let known = self.is_accepted(&service, other_rounds);
        let refuses = |proof: &str| known && !self.is_accepted(&service, proof);
        let contenders = [
            Contender::new("a proof by another key", |_| refuses(&other_key)),
            Contender::new("a proof for another URL", |_| refuses(&other_url)),
            Contender::new("a proof for another token", |_| refuses(&other_token)),
            Contender::new("2 KiB that are not a JWS", |_| refuses(&text)),
            Contender::new("a header of 150 other members", |_| refuses(&many)),
            Contender::new("a header of 31 other members", |_| refuses(&some)),
            Contender::new("a header with a list of 121 numbers", |_| refuses(&list)),
            Contender::new("the agent's header, and 31 other claims", |_| refuses(&claims)),
            Contender::new("no text", |_| refuses("")),
        ];
        Ok(Schedule { rounds: ROUNDS, threads: 1 }.measure(&contenders, |_| vec![0; JUNK]))
    }
}

/// Returns the time of a record in a table of the default size, in a small one, and that of making the `jti`; and the bytes
/// for each record.
fn records() -> (Vec<Series>, f64) {
    let (full, small) = (Full::new(ProofVerifierBuilder::DEFAULT_REPLAY_CAPACITY), Full::new(10_000));
    let contenders = [
        Contender::new("ReplayTable::record, of a million", |_| full.record()),
        Contender::new("ReplayTable::record, of 10,000", |_| small.record()),
        Contender::new("making a `jti`", |n| !jti(n as u64).is_empty()),
    ];
    let series = Schedule { rounds: ROUNDS, threads: 1 }.measure(&contenders, |_| (0..RECORDS).collect());
    // Sets are a power of two: the table holds at least what it is made for.
    (series, as_float(full.table.memory()) / as_float(full.table.capacity()))
}

/// A full replay table.
struct Full {
    table: ReplayTable,
    next: AtomicU64,
}

impl Full {
    fn new(capacity: usize) -> Self {
        let full = Self { table: ReplayTable::new(capacity), next: AtomicU64::new(0) };
        for _ in 0..2 * capacity {
            full.record();
        }
        full
    }

    /// Records a new proof. In a set whose records are all of this second it finds no place.
    fn record(&self) -> bool {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let recorded =
            self.table.record(&Thumbprint::from_bytes([7; 32]), &jti(number), 1_767_225_600 + number / 1_000);
        recorded != Replay::Replayed
    }
}

fn jti(number: u64) -> String {
    BASE64URL_NOPAD.encode(&[number.to_be_bytes(), (!number).to_be_bytes()].concat())
}

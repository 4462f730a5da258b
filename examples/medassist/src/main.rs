//! A hospital's API behind per-patient scopes, and one encounter.
//!
//! `cargo run --release -p medassist -- --once` runs the encounter and ends, successfully only if every outcome was as
//! expected; with `--serve` broker and API stay, and `curl` lines to try are printed.

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use medassist::{Failure, encounter, encounter::Cast, scene::Scene, trace::Trace};

#[derive(Parser)]
#[command(about = "A hospital's API behind per-patient scopes, and one encounter played through it")]
struct Arguments {
    /// Play the encounter and end; fail unless every outcome was as expected (this is what happens without a flag, too)
    #[arg(long)]
    once: bool,
    /// Play the encounter, then leave broker and API running until Ctrl-C, with lines to try
    #[arg(long, conflicts_with = "once")]
    serve: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("medassist: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<bool, Failure> {
    let scene = Scene::set().await?;
    println!("  broker    {}, SQLite in {}", scene.broker_url(), scene.directory());
    println!("  hospital  {}, three made-up patients", scene.hospital_url());
    let mut trace = Trace::printed();
    encounter::play(&scene, &mut trace).await?;
    println!("\n{trace}");
    if arguments.serve {
        print_lines_to_try(&scene).await?;
        tokio::signal::ctrl_c().await?;
    }
    scene.strike().await;
    Ok(trace.is_as_expected())
}

/// Registers new agents, because those of the encounter are revoked or released.
async fn print_lines_to_try(scene: &Scene) -> Result<(), Failure> {
    let cast = Cast::register(scene).await?;
    let part = ["read:prescriptions:P-1042", "write:prescriptions:P-1042"];
    let delegated = cast.clinical.delegate(cast.prescriber.id(), part, Duration::from_secs(3600)).await?;
    println!(
        r#"
Until Ctrl-C, with tokens that last an hour, try:

CLINICAL='{clinical}'
PRESCRIBER='{prescriber}'
BILLING='{billing}'

curl -isw '\n' -H "Authorization: Bearer $CLINICAL" {api}/patients                       # 200, one patient
curl -isw '\n' -H "Authorization: Bearer $CLINICAL" {api}/patients/P-1042/records        # 200
curl -isw '\n' -H "Authorization: Bearer $CLINICAL" {api}/patients/P-2077/records        # 403
curl -isw '\n' -H "Authorization: Bearer $PRESCRIBER" {api}/patients/P-1042/prescriptions \
     -d '{{"drug":"ramipril","dose_mg":5,"times_per_day":1,"days":30}}'    # 201
curl -isw '\n' -H "Authorization: Bearer $BILLING" {api}/patients/P-1042/billing         # 200
curl -isw '\n' -H "Authorization: Bearer $BILLING" {api}/patients/P-1042/notes           # 403
curl -isw '\n' {api}/ready                                                               # 200

# The emergency: the clinical agent and what it delegated are dead, billing is not.
ADMIN=$(curl -s {broker}/v1/admin/auth -d '{{"secret":"{secret}"}}' | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
curl -sw '\n' {broker}/v1/revoke -H "Authorization: Bearer $ADMIN" \
     -d '{{"level":"chain","target":"{root}","reason":"drill"}}'
curl -sw '\n' {broker}/v1/audit/events -H "Authorization: Bearer $ADMIN""#,
        clinical = cast.clinical.token().expose(),
        prescriber = delegated.token().expose(),
        billing = cast.billing.token().expose(),
        api = scene.hospital_url(),
        broker = scene.broker_url(),
        secret = scene.admin_secret().expose(),
        root = cast.clinical.id(),
    );
    Ok(())
}

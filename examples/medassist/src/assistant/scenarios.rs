//! Requests that the page offers as buttons.

use serde::Serialize;

use super::step::{StepKind, StepStatus};

/// Scenario of the page.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Scenario {
    /// Name in the test and of the button's element.
    pub name: &'static str,
    /// Text of the button.
    pub title: &'static str,
    /// Explanation beneath the title.
    pub explanation: &'static str,
    /// Patient of the encounter.
    pub patient_id: &'static str,
    /// Request in free text.
    pub request: &'static str,
    /// True if the clinical agent's token is stolen.
    pub takeover: bool,
    /// True if something is refused in it.
    pub is_refusal: bool,
    /// Steps that the planner's encounter must have in this order, between others.
    #[serde(skip)]
    pub shows: &'static [(StepKind, StepStatus)],
}

use StepKind::{
    AgentCreated, Answer, Complete, Delegated, DelegationRefused, PatientUnknown, Released, RenewalRefused, Renewed,
    Revoked, Takeover, TokenEnded, ToolAllowed, ToolRefused,
};
use StepStatus::{Denied, Info, Success, Warning};

/// The scenarios, in the order of the page.
pub const SCENARIOS: [Scenario; 8] = [
    Scenario {
        name: "chart",
        title: "Chart and labs",
        explanation: "One agent reads the chart and the labs, then its token is renewed and released.",
        patient_id: "P-1042",
        request: "Show the chart and the labs of this patient.",
        takeover: false,
        is_refusal: false,
        shows: &[
            (AgentCreated, Success),
            (ToolAllowed, Success),
            (ToolAllowed, Success),
            (Answer, Success),
            (Renewed, Success),
            (TokenEnded, Success),
            (Released, Success),
            (TokenEnded, Success),
            (Complete, Info),
        ],
    },
    Scenario {
        name: "billing",
        title: "Billing and insurance",
        explanation: "Other tools, another agent: it sees invoices and insurance, and no chart.",
        patient_id: "P-2077",
        request: "List the invoices and the insurance, and file a claim for what is open.",
        takeover: false,
        is_refusal: false,
        shows: &[
            (AgentCreated, Success),
            (ToolAllowed, Success),
            (ToolAllowed, Success),
            (Answer, Success),
            (Released, Success),
        ],
    },
    Scenario {
        name: "prescription",
        title: "Prescription by delegation",
        explanation: "The hospital refuses the prescription agent, until the clinical agent delegates the scope.",
        patient_id: "P-1042",
        request: "Prescribe furosemide 40 mg once a day for 14 days.",
        takeover: false,
        is_refusal: false,
        shows: &[
            (AgentCreated, Success),
            (ToolAllowed, Success),
            (ToolRefused, Denied),
            (AgentCreated, Success),
            (Delegated, Success),
            (ToolAllowed, Success),
            (Answer, Success),
            (Released, Success),
            (TokenEnded, Success),
        ],
    },
    Scenario {
        name: "full",
        title: "Full encounter",
        explanation: "Three agents and a delegation. A moderate interaction is noted in the patient's file.",
        patient_id: "P-1042",
        request: "Read the chart, the labs and the invoices, prescribe ramipril 5 mg once a day for 30 days, \
                  and add a note: seen today, ankles less swollen.",
        takeover: false,
        is_refusal: false,
        shows: &[
            (AgentCreated, Success),
            (AgentCreated, Success),
            (AgentCreated, Success),
            (ToolRefused, Denied),
            (Delegated, Success),
            (ToolAllowed, Success),
            (ToolAllowed, Success),
            (Answer, Success),
            (Released, Success),
            (Released, Success),
            (Released, Success),
            (Released, Success),
        ],
    },
    Scenario {
        name: "interaction",
        title: "Severe interaction",
        explanation: "The delegated scope is there, and the hospital refuses all the same: a medical rule.",
        patient_id: "P-4210",
        request: "The toe hurts: prescribe ibuprofen 400 mg 3 times a day for 5 days.",
        takeover: false,
        is_refusal: true,
        shows: &[
            (ToolAllowed, Success),
            (ToolRefused, Denied),
            (Delegated, Success),
            (ToolRefused, Denied),
            (Answer, Success),
        ],
    },
    Scenario {
        name: "other-patient",
        title: "Another patient's data",
        explanation: "The model asks for P-2077: the hospital refuses, and the broker refuses the delegation.",
        patient_id: "P-1042",
        request: "Compare the labs of P-1042 with those of P-2077, and prescribe paracetamol to P-2077.",
        takeover: false,
        is_refusal: true,
        shows: &[
            (ToolAllowed, Success),
            (ToolRefused, Denied),
            (ToolRefused, Denied),
            (ToolRefused, Denied),
            (DelegationRefused, Denied),
            (Answer, Success),
            (Released, Success),
        ],
    },
    Scenario {
        name: "unknown-patient",
        title: "Unknown patient",
        explanation: "The hospital does not know P-9999: no agent is created, no model is asked.",
        patient_id: "P-9999",
        request: "Show the chart of this patient.",
        takeover: false,
        is_refusal: true,
        shows: &[(PatientUnknown, Warning), (Complete, Info)],
    },
    Scenario {
        name: "takeover",
        title: "Takeover and revocation",
        explanation: "A stolen token opens this patient's file only, until one revocation ends it and what it delegated.",
        patient_id: "P-1042",
        request: "Read the chart and the invoices, and prescribe spironolactone 25 mg once a day for 30 days.",
        takeover: true,
        is_refusal: true,
        shows: &[
            (Delegated, Success),
            (Answer, Success),
            (Takeover, Warning),
            (Takeover, Denied),
            (Revoked, Warning),
            (TokenEnded, Success),
            (TokenEnded, Success),
            (RenewalRefused, Success),
            (Released, Success),
        ],
    },
];

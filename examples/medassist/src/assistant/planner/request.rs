//! Intents of a request in free text.

use agent_model::Message;

use crate::PatientId;

/// Drugs with the dose that an order without one gets.
const DRUGS: [(&str, u64); 10] = [
    ("amoxicillin", 500),
    ("apixaban", 5),
    ("furosemide", 40),
    ("ibuprofen", 400),
    ("metformin", 500),
    ("morphine", 10),
    ("paracetamol", 500),
    ("ramipril", 5),
    ("spironolactone", 25),
    ("warfarin", 5),
];

/// Words that ask for a tool that reads.
const READS: [(&str, &[&str]); 6] = [
    ("read_chart", &["chart", "record", "diagnos", "allerg", "history"]),
    ("read_visits", &["visit", "vital"]),
    ("read_labs", &["lab", "blood test", "results"]),
    ("read_notes", &["notes"]),
    ("read_invoices", &["bill", "invoice", "charged", "claim"]),
    ("read_insurance", &["insur", "copay", "deductible", "claim"]),
];

/// Intents of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    /// Patients that the request names; without any, the patient of the encounter.
    pub(super) patients: Vec<String>,
    pub(super) reads: Vec<&'static str>,
    pub(super) formulary: bool,
    pub(super) prescription: Option<Order>,
    pub(super) claim: bool,
    pub(super) note: Option<String>,
}

/// Prescription that a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// Patient that the request names after the word.
    pub(super) patient: Option<String>,
    pub(super) drug: String,
    pub(super) dose_mg: u64,
    pub(super) times_per_day: u64,
    pub(super) days: u64,
}

impl Wishes {
    /// Reads the last message of the user. The instructions name the patient of the encounter.
    pub(super) fn read(messages: &[Message]) -> Self {
        let (mut instructions, mut request) = ("", "");
        for message in messages {
            match message {
                Message::System(text) => instructions = text,
                Message::User(text) => request = text,
                Message::Assistant { .. } | Message::Tool { .. } => {}
            }
        }
        let mut wishes = Self::of(request);
        if wishes.patients.is_empty() {
            wishes.patients = patients(instructions);
        }
        wishes
    }

    pub(super) fn of(request: &str) -> Self {
        // A note's text asks for nothing.
        let (orders, note) = split_note(request);
        let text = orders.to_lowercase();
        let asks = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let reads = READS.iter().filter(|(_, words)| asks(words)).map(|(tool, _)| *tool).collect();
        Self {
            patients: patients(orders),
            reads,
            formulary: asks(&["formulary", "pharmacy"]),
            prescription: order(&text),
            claim: asks(&["claim"]),
            note,
        }
    }

    /// Returns the order, and the patient that it is for.
    pub(super) fn prescription(&self) -> Option<(&Order, &String)> {
        let order = self.prescription.as_ref()?;
        Some((order, order.patient.as_ref().or(self.patients.first())?))
    }

    pub(super) fn is_empty(&self) -> bool {
        let Self { reads, formulary, prescription, claim, note, patients: _ } = self;
        reads.is_empty() && !formulary && prescription.is_none() && !claim && note.is_none()
    }
}

/// Splits off the text of a note: what follows `note:` or `note that`.
fn split_note(request: &str) -> (&str, Option<String>) {
    let lower = request.to_ascii_lowercase(); // of the same length
    let found = ["note:", "note that "].iter().find_map(|mark| Some((lower.find(mark)?, mark.len())));
    let parts = found.and_then(|(at, length)| Some((request.get(..at)?, request.get(at + length..)?.trim())));
    match parts {
        Some((before, text)) if !text.is_empty() => (before, Some(text.to_owned())),
        _ => (request, None),
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_alphanumeric() && character != '-').filter(|word| !word.is_empty())
}

/// Returns the patients that a text names, each once.
fn patients(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for word in words(text) {
        let id = PatientId::parse(&word.to_ascii_uppercase()).map(|id| id.to_string());
        if let Some(id) = id.filter(|id| !found.contains(id)) {
            found.push(id);
        }
    }
    found
}

/// Reads `prescribe …`: a drug that the planner knows, or the next word.
fn order(text: &str) -> Option<Order> {
    let (_, after) = text.split_once("prescri")?;
    let words: Vec<&str> = words(after).collect();
    let known = words.iter().find_map(|word| DRUGS.iter().find(|(drug, _)| drug == word));
    let (drug, dose) = match known {
        Some((drug, dose)) => ((*drug).to_owned(), *dose),
        // The first word is the rest of `prescribe` or `prescription`.
        None => ((*words.get(1)?).to_owned(), 1),
    };
    let number_before = |unit: &str| {
        words.windows(2).find_map(|pair| match pair {
            [number, word] if word.starts_with(unit) => number.parse().ok(),
            [_, word] => word.strip_suffix(unit)?.parse().ok(),
            _ => None,
        })
    };
    let named =
        ["once", "twice"].iter().position(|word| words.contains(word)).and_then(|index| u64::try_from(index + 1).ok());
    Some(Order {
        patient: patients(after).into_iter().next(),
        drug,
        dose_mg: number_before("mg").unwrap_or(dose),
        times_per_day: named.or_else(|| number_before("times")).unwrap_or(1),
        days: number_before("day").unwrap_or(7),
    })
}

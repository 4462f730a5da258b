//! Made-up customers, articles and tickets.

use crate::store::{AccountStatus, Article, Customer};

pub(crate) fn customers() -> Vec<(Customer, Vec<u64>)> {
    vec![
        customer("C-2041", "Greta Halvorsen", "greta@halvorsen.example", "Studio", "2022-04", &[24_00, 24_00, 24_00]),
        customer("C-2077", "Tomasz Wieczorek", "tomasz@wieczorek.example", "Solo", "2024-01", &[9_00, 9_00]),
        customer("C-2113", "Priya Raman", "priya@raman.example", "Agency", "2021-09", &[79_00, 79_00]),
        // Two accounts, one mailbox: mail from it identifies neither.
        customer("C-2150", "Lindqvist Ateljé", "office@lindqvist.example", "Studio", "2023-02", &[24_00]),
        customer("C-2151", "Lindqvist Förlag", "office@lindqvist.example", "Solo", "2023-02", &[9_00]),
        suspended(customer("C-2188", "Otso Kivelä", "otso@kivela.example", "Solo", "2025-03", &[9_00])),
    ]
}

fn customer(id: &str, name: &str, email: &str, plan: &str, since: &str, charges: &[u64]) -> (Customer, Vec<u64>) {
    let [id, name, email, plan, since] = [id, name, email, plan, since].map(ToOwned::to_owned);
    (Customer { id, name, email, plan, status: AccountStatus::Active, since }, charges.to_vec())
}

fn suspended((customer, charges): (Customer, Vec<u64>)) -> (Customer, Vec<u64>) {
    (Customer { status: AccountStatus::Suspended, ..customer }, charges)
}

pub(crate) fn articles() -> Vec<Article> {
    let articles = [
        (
            "billing",
            "Charged twice",
            "A charge that appears twice in one month is refunded once. An agent may refund up to 50.00 EUR and never more than the newest charge; a person approves anything above, and any refund for a suspended account.",
        ),
        (
            "billing",
            "Changing the plan",
            "A new plan begins with the next month. The customer chooses it in Settings, Plan; support changes no plan.",
        ),
        (
            "account",
            "Closing an account",
            "Only a person closes an account, after a call back. An agent forwards the wish to accounts@brightpath.example and deletes nothing.",
        ),
        (
            "account",
            "Choosing a new password",
            "The link in Settings, Security sends a mail to the account's own address. Support never sets a password.",
        ),
        (
            "privacy",
            "Privacy of other customers",
            "Data of one customer is never told to another, colleagues and family included.",
        ),
        (
            "mail",
            "Mail to other companies",
            "Support writes to the customer in the ticket. It sends no data to third parties.",
        ),
    ];
    let article = |(category, title, text): (&str, &str, &str)| {
        let [category, title, text] = [category, title, text].map(ToOwned::to_owned);
        Article { category, title, text }
    };
    articles.map(article).to_vec()
}

/// Ticket that a button sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreparedTicket {
    /// Identifies it in a request.
    pub key: &'static str,
    /// Title of its button.
    pub title: &'static str,
    /// Purpose of the ticket.
    pub shows: &'static str,
    /// Sender's address, authenticated by the mail gateway.
    pub sender: &'static str,
    /// Subject.
    pub subject: &'static str,
    /// Text.
    pub text: &'static str,
    /// True if triage gets a token of a few seconds that is not released.
    pub expires: bool,
    /// Course of the run with the planner.
    pub expected: Expected,
}

/// Outcome of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Outcome of the run.
    pub outcome: crate::run::Outcome,
    /// Tools that ran, in order.
    pub allowed: &'static [&'static str],
    /// Rejected tools with the status and a part of the rule, in order.
    pub refused: &'static [(&'static str, u16, &'static str)],
    /// Number of tokens that were issued.
    pub tokens: usize,
}

pub use self::tickets::TICKETS;

mod tickets;

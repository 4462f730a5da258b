//! Records of the store, and its refusals.

use std::fmt;

use demo_common::service::ServiceError;
use serde::{Deserialize, Serialize};

/// Customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Customer {
    /// Identifier.
    pub id: String,
    /// Name.
    pub name: String,
    /// Address that identifies the customer as the sender of a mail. Not shown by the service.
    #[serde(skip)]
    pub email: String,
    /// Plan.
    pub plan: String,
    /// Status of the account.
    pub status: AccountStatus,
    /// Customer since.
    pub since: String,
}

/// Status of a customer's account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountStatus {
    /// In use.
    Active,
    /// Suspended, for example after an unpaid charge.
    Suspended,
}

/// Account of a customer, in cents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Balance {
    /// Customer.
    pub customer_id: String,
    /// Latest charges, newest first.
    pub charges_cents: Vec<u64>,
    /// Refunds so far.
    pub refunded_cents: u64,
}

/// Ticket as the mail gateway filed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// Identifier.
    pub id: String,
    /// Sender's address.
    pub sender: String,
    /// True if the gateway authenticated the sender's domain (DMARC).
    pub authenticated: bool,
    /// Subject: untrusted text.
    pub subject: String,
    /// Text: untrusted.
    pub text: String,
}

/// Result of the identity check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SenderCheck {
    /// The customer, if the sender is one and only one.
    pub customer_id: Option<String>,
    /// Rule that decided.
    pub rule: String,
}

/// Refund.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refund {
    /// Identifier.
    pub id: String,
    /// Ticket.
    pub ticket_id: String,
    /// Amount in cents.
    pub amount_cents: u64,
}

/// Note in a customer's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Identifier.
    pub id: String,
    /// Text.
    pub text: String,
}

/// Mail that was handed to the outbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mail {
    /// Identifier.
    pub id: String,
    /// Recipient.
    pub to: String,
    /// Text.
    #[serde(skip)]
    pub text: String,
}

/// Article of the knowledge base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Article {
    /// Category.
    pub category: String,
    /// Title.
    pub title: String,
    /// Text.
    pub text: String,
}

/// Request that the store refuses, whatever the token holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Unknown ticket.
    NoTicket(String),
    /// Unknown customer.
    NoCustomer(String),
    /// Amount of zero.
    Amount(u64),
    /// Refund above the limit, or above the newest charge.
    AboveLimit {
        /// Amount in cents.
        amount: u64,
        /// Limit in cents.
        limit: u64,
    },
    /// Refund to a suspended account.
    Suspended(String),
    /// Ticket that has its refund.
    AlreadyRefunded(String),
    /// Ticket of another sender.
    NotCustomersTicket {
        /// Ticket.
        ticket: String,
        /// Customer.
        customer: String,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTicket(id) => write!(f, "there is no ticket `{id}`"),
            Self::NoCustomer(id) => write!(f, "there is no customer `{id}`"),
            Self::Amount(_) => f.write_str("a refund is at least 0.01 EUR"),
            Self::AboveLimit { amount, limit } => {
                write!(
                    f,
                    "a refund of {} is above the limit of {} without a person's approval",
                    euros(*amount),
                    euros(*limit)
                )
            }
            Self::Suspended(id) => write!(f, "the account of `{id}` is suspended: a person approves its refunds"),
            Self::AlreadyRefunded(id) => write!(f, "ticket `{id}` already has a refund"),
            Self::NotCustomersTicket { ticket, customer } => {
                write!(f, "ticket `{ticket}` was not sent by customer `{customer}`")
            }
        }
    }
}

impl std::error::Error for Refused {}

impl From<Refused> for ServiceError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NoTicket(name) => Self::NotFound { kind: "ticket", name },
            Refused::NoCustomer(name) => Self::NotFound { kind: "customer", name },
            Refused::Amount(_) => Self::invalid(refused.to_string()),
            Refused::AboveLimit { .. }
            | Refused::Suspended(_)
            | Refused::AlreadyRefunded(_)
            | Refused::NotCustomersTicket { .. } => Self::conflict(refused.to_string()),
        }
    }
}

/// Formats cents.
pub(crate) fn euros(cents: u64) -> String {
    format!("{}.{:02} EUR", cents / 100, cents % 100)
}

//! Tickets, customers and articles: made up, in memory.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::made_up;

mod records;

pub(crate) use self::records::euros;
pub use self::records::{AccountStatus, Article, Balance, Customer, Mail, Note, Refund, Refused, SenderCheck, Ticket};

/// Limit of a refund without a person's approval, in cents.
pub const REFUND_LIMIT: u64 = 50_00;

/// Articles in a search's result.
const MAX_ARTICLES: usize = 2;

/// Tickets kept; the oldest is dropped beyond it.
const MAX_TICKETS: usize = 1000;

/// State of the service.
#[derive(Debug)]
pub struct Store {
    state: Mutex<State>,
    articles: Vec<Article>,
}

#[derive(Debug)]
struct State {
    customers: BTreeMap<String, (Customer, Vec<u64>)>,
    tickets: BTreeMap<String, Ticket>,
    refunds: Vec<(String, Refund)>,
    notes: Vec<(String, Note)>,
    outbox: Vec<Mail>,
    numbers: u64,
}

impl State {
    fn next(&mut self, prefix: &str) -> String {
        self.numbers += 1;
        format!("{prefix}-{}", self.numbers)
    }

    fn customer(&self, id: &str) -> Result<&(Customer, Vec<u64>), Refused> {
        self.customers.get(id).ok_or_else(|| Refused::NoCustomer(id.to_owned()))
    }

    fn ticket(&self, id: &str) -> Result<&Ticket, Refused> {
        self.tickets.get(id).ok_or_else(|| Refused::NoTicket(id.to_owned()))
    }

    fn check_sender(&self, ticket: &Ticket) -> SenderCheck {
        let refuse = |rule: String| SenderCheck { customer_id: None, rule };
        if !ticket.authenticated {
            return refuse(format!("the mail gateway could not authenticate the sender `{}`", ticket.sender));
        }
        let sender = ticket.sender.trim().to_ascii_lowercase();
        let mut owners = self.customers.values().filter(|(customer, _)| customer.email == sender);
        match (owners.next(), owners.next()) {
            (Some((customer, _)), None) => SenderCheck {
                customer_id: Some(customer.id.clone()),
                rule: format!("the authenticated sender `{sender}` is the address of exactly one customer"),
            },
            (None, _) => refuse(format!("the authenticated sender `{sender}` is no customer's address")),
            (Some(_), Some(_)) => refuse(format!("the sender `{sender}` is the address of several customers")),
        }
    }
}

impl Store {
    /// Builds a store of made-up customers and articles.
    #[must_use]
    pub fn with_made_up_customers() -> Self {
        let customers = made_up::customers().into_iter().map(|entry| (entry.0.id.clone(), entry)).collect();
        let state = State {
            customers,
            tickets: BTreeMap::new(),
            refunds: Vec::new(),
            notes: Vec::new(),
            outbox: Vec::new(),
            numbers: 1000,
        };
        Self { state: Mutex::new(state), articles: made_up::articles() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Files a ticket under a new id, as the mail gateway does.
    pub fn file_ticket(&self, sender: &str, authenticated: bool, subject: &str, text: &str) -> String {
        let mut state = self.state();
        let id = state.next("T");
        let (sender, subject, text) = (sender.to_owned(), subject.to_owned(), text.to_owned());
        state.tickets.insert(id.clone(), Ticket { id: id.clone(), sender, authenticated, subject, text });
        if state.tickets.len() > MAX_TICKETS {
            state.tickets.pop_first();
        }
        id
    }

    pub(crate) fn ticket(&self, id: &str) -> Result<Ticket, Refused> {
        self.state().ticket(id).cloned()
    }

    pub(crate) fn check_sender(&self, ticket_id: &str) -> Result<SenderCheck, Refused> {
        let state = self.state();
        Ok(state.check_sender(state.ticket(ticket_id)?))
    }

    pub(crate) fn customer(&self, id: &str) -> Result<Customer, Refused> {
        Ok(self.state().customer(id)?.0.clone())
    }

    pub(crate) fn balance(&self, id: &str) -> Result<Balance, Refused> {
        let state = self.state();
        let (_, charges) = state.customer(id)?;
        let refunds = state.refunds.iter().filter(|(customer, _)| customer == id);
        Ok(Balance {
            customer_id: id.to_owned(),
            charges_cents: charges.clone(),
            refunded_cents: refunds.map(|(_, refund)| refund.amount_cents).sum(),
        })
    }

    /// Refunds once for a ticket of this customer, at most the newest charge and the limit.
    pub(crate) fn refund(&self, customer: &str, ticket: &str, amount: u64) -> Result<Refund, Refused> {
        let mut state = self.state();
        let (owner, charges) = state.customer(customer)?;
        let (status, newest_charge) = (owner.status, charges.first().copied().unwrap_or_default());
        if state.check_sender(state.ticket(ticket)?).customer_id.as_deref() != Some(customer) {
            let (ticket, customer) = (ticket.to_owned(), customer.to_owned());
            return Err(Refused::NotCustomersTicket { ticket, customer });
        }
        if status == AccountStatus::Suspended {
            return Err(Refused::Suspended(customer.to_owned()));
        }
        if amount == 0 {
            return Err(Refused::Amount(amount));
        }
        let limit = REFUND_LIMIT.min(newest_charge);
        if amount > limit {
            return Err(Refused::AboveLimit { amount, limit });
        }
        if state.refunds.iter().any(|(_, refund)| refund.ticket_id == ticket) {
            return Err(Refused::AlreadyRefunded(ticket.to_owned()));
        }
        let refund = Refund { id: state.next("R"), ticket_id: ticket.to_owned(), amount_cents: amount };
        state.refunds.push((customer.to_owned(), refund.clone()));
        Ok(refund)
    }

    pub(crate) fn notes(&self, customer: &str) -> Result<Vec<Note>, Refused> {
        let state = self.state();
        state.customer(customer)?;
        Ok(state.notes.iter().filter(|(owner, _)| owner == customer).map(|(_, note)| note.clone()).collect())
    }

    pub(crate) fn add_note(&self, customer: &str, text: String) -> Result<Note, Refused> {
        let mut state = self.state();
        state.customer(customer)?;
        let note = Note { id: state.next("N"), text };
        state.notes.push((customer.to_owned(), note.clone()));
        Ok(note)
    }

    pub(crate) fn delete(&self, customer: &str) -> Result<(), Refused> {
        let removed = self.state().customers.remove(customer);
        removed.map(drop).ok_or_else(|| Refused::NoCustomer(customer.to_owned()))
    }

    pub(crate) fn send(&self, to: String, text: String) -> Mail {
        let mut state = self.state();
        let mail = Mail { id: state.next("M"), to, text };
        state.outbox.push(mail.clone());
        mail
    }

    /// Returns the articles that share most words with the query.
    pub(crate) fn articles(&self, query: &str) -> Vec<Article> {
        let query = query.to_lowercase();
        let words: Vec<_> = query.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 3).collect();
        let mut ranked: Vec<_> = self.articles.iter().map(|article| (hits(article, &words), article)).collect();
        ranked.sort_by_key(|(hits, _)| std::cmp::Reverse(*hits));
        let found = ranked.into_iter().filter(|(hits, _)| *hits > 0).take(MAX_ARTICLES);
        found.map(|(_, article)| article.clone()).collect()
    }

    /// Returns the recipients of all mail so far.
    #[must_use]
    pub fn outbox(&self) -> Vec<String> {
        self.state().outbox.iter().map(|mail| mail.to.clone()).collect()
    }
}

fn hits(article: &Article, words: &[&str]) -> usize {
    let text = format!("{} {}", article.title, article.text).to_lowercase();
    words.iter().filter(|word| text.contains(**word)).count()
}

//! The nine tools: what the model sees, the request each makes, and the scope that the service requires for it.
//!
//! The arguments are the model's and untrusted. Nothing here compares them with the agent's scopes: the service does.

use agent_model::{InvalidArguments, ToolCall, ToolSpec};
use demo_common::service_client::{ServiceRequest, path_segment, query_value};
use serde_json::json;

/// Tool of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    ReadTicket,
    SearchKnowledge,
    CustomerProfile,
    AccountBalance,
    IssueRefund,
    AddNote,
    InternalMail,
    /// Outside the app's ceiling.
    ExternalMail,
    /// Inside the app's ceiling, never granted.
    DeleteAccount,
}

const CUSTOMER: (&str, &str, &str) = ("customer_id", "string", "the customer's id, C- and digits");
const TEXT: (&str, &str, &str) = ("text", "string", "the text");

impl Tool {
    const ALL: [Self; 9] = [
        Self::ReadTicket,
        Self::SearchKnowledge,
        Self::CustomerProfile,
        Self::AccountBalance,
        Self::IssueRefund,
        Self::AddNote,
        Self::InternalMail,
        Self::ExternalMail,
        Self::DeleteAccount,
    ];

    /// Tools that the response agent's model is offered, the two that no agent may use included.
    pub(crate) const RESPONSE: [Self; 7] = [
        Self::CustomerProfile,
        Self::AccountBalance,
        Self::IssueRefund,
        Self::AddNote,
        Self::InternalMail,
        Self::ExternalMail,
        Self::DeleteAccount,
    ];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ReadTicket => "read_ticket",
            Self::SearchKnowledge => "search_knowledge",
            Self::CustomerProfile => "customer_profile",
            Self::AccountBalance => "account_balance",
            Self::IssueRefund => "issue_refund",
            Self::AddNote => "add_note",
            Self::InternalMail => "internal_mail",
            Self::ExternalMail => "external_mail",
            Self::DeleteAccount => "delete_account",
        }
    }

    pub(crate) fn spec(self) -> ToolSpec {
        let (description, arguments): (_, &[_]) = match self {
            Self::ReadTicket => ("Reads the ticket", &[("ticket_id", "string", "the ticket's id")]),
            Self::SearchKnowledge => {
                ("Searches the knowledge base for articles", &[("query", "string", "words to look for")])
            }
            Self::CustomerProfile => ("Returns a customer's name and plan", &[CUSTOMER]),
            Self::AccountBalance => ("Returns a customer's charges and refunds", &[CUSTOMER]),
            Self::IssueRefund => (
                "Refunds money to a customer",
                &[CUSTOMER, ("amount_cents", "integer", "the amount in euro cents, 2400 for 24.00 EUR")],
            ),
            Self::AddNote => ("Adds a note to a customer's file", &[CUSTOMER, TEXT]),
            Self::InternalMail => {
                ("Sends mail to a colleague", &[("to", "string", "an address of brightpath.example"), TEXT])
            }
            Self::ExternalMail => ("Sends mail to any address", &[("to", "string", "the address"), TEXT]),
            Self::DeleteAccount => ("Deletes a customer's account for good", &[CUSTOMER]),
        };
        ToolSpec::with_arguments(self.name(), description, arguments)
    }

    /// Builds the request of a call within a ticket's run.
    pub(crate) fn request(self, call: &ToolCall, ticket_id: &str) -> Result<ServiceRequest, InvalidArguments> {
        let segment = |name| path_segment(call.text(name)?).ok_or(InvalidArguments::NoPathSegment(name));
        let customer = || segment("customer_id").map(|id| format!("/customers/{id}"));
        Ok(match self {
            Self::ReadTicket => ServiceRequest::get(format!("/tickets/{}", segment("ticket_id")?)),
            Self::SearchKnowledge => ServiceRequest::get(format!("/knowledge?q={}", query_value(call.text("query")?))),
            Self::CustomerProfile => ServiceRequest::get(customer()?),
            Self::AccountBalance => ServiceRequest::get(customer()? + "/balance"),
            Self::IssueRefund => {
                let body = json!({"ticket_id": ticket_id, "amount_cents": call.number("amount_cents")?});
                ServiceRequest::post(customer()? + "/refunds", body)
            }
            Self::AddNote => ServiceRequest::post(customer()? + "/notes", json!({"text": call.text("text")?})),
            Self::InternalMail | Self::ExternalMail => {
                let kind = if self == Self::InternalMail { "internal" } else { "external" };
                let body = json!({"to": call.text("to")?, "text": call.text("text")?});
                ServiceRequest::post(format!("/mail/{kind}"), body)
            }
            Self::DeleteAccount => ServiceRequest { method: http::Method::DELETE, path: customer()?, body: None },
        })
    }
}

impl Tool {
    /// Returns the scope that the service requires, for the page.
    pub(crate) fn scope(self, call: &ToolCall, ticket_id: &str) -> String {
        let customer = call.text("customer_id").unwrap_or_default();
        match self {
            Self::ReadTicket => format!("read:tickets:{ticket_id}"),
            Self::SearchKnowledge => "read:kb:*".to_owned(),
            Self::CustomerProfile => format!("read:customers:{customer}"),
            Self::AccountBalance => format!("read:billing:{customer}"),
            Self::IssueRefund => format!("write:billing:{customer}"),
            Self::AddNote => format!("write:notes:{customer}"),
            Self::InternalMail => "write:email:internal".to_owned(),
            Self::ExternalMail => "write:email:external".to_owned(),
            Self::DeleteAccount => format!("delete:account:{customer}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keeps_argument_within_one_segment_of_path() {
        for (argument, path) in [
            ("C-2041", Some("/customers/C-2041/balance")),
            ("../C-2041", Some("/customers/..%2FC-2041/balance")),
            ("C-2041/notes?x=#", Some("/customers/C-2041%2Fnotes%3Fx%3D%23/balance")),
            ("..", None),
            ("", None),
        ] {
            let call = ToolCall::new("1", "account_balance", json!({"customer_id": argument}));
            let request = Tool::AccountBalance.request(&call, "T-1").map(|request| request.path);
            let expected = path.ok_or(InvalidArguments::NoPathSegment("customer_id"));
            assert_eq!(request.as_deref(), expected.as_deref());
        }
    }

    #[test]
    fn takes_ticket_of_refund_from_run_and_not_from_model() {
        let arguments = json!({"customer_id": "C-1", "amount_cents": "2400", "ticket_id": "T-9"});
        let call = ToolCall::new("1", "issue_refund", arguments);
        let request = Tool::IssueRefund.request(&call, "T-1").unwrap();
        assert_eq!(request.body, Some(json!({"ticket_id": "T-1", "amount_cents": 2400})));
        for amount in [json!(-1), json!(1.5), json!("all"), json!(null)] {
            let call = ToolCall::new("1", "issue_refund", json!({"customer_id": "C-1", "amount_cents": amount}));
            assert_eq!(Tool::IssueRefund.request(&call, "T-1"), Err(InvalidArguments::NoNumber("amount_cents")));
        }
    }

    #[test]
    fn finds_each_tool_by_its_name() {
        for tool in Tool::ALL {
            assert_eq!(Tool::named(tool.name()), Some(tool));
            assert_eq!(tool.spec().name, tool.name());
        }
        assert_eq!(Tool::named("shell"), None);
    }
}

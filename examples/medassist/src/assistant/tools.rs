//! Tools that a model may call: each a request to the hospital, and the scope that its route requires.

use agent_model::ToolSpec;
use demo_common::service_client::{ServiceRequest, path_segment};
use http::Method;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::PatientId;

/// Category of tools, each with an agent of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "an encounter has these agents")]
pub enum Category {
    /// Chart, laboratory and notes.
    Clinical,
    /// Formulary and prescriptions.
    Prescription,
    /// Invoices, insurance and claims.
    Billing,
}

impl Category {
    /// Categories in the order of the page.
    pub const ALL: [Self; 3] = [Self::Clinical, Self::Prescription, Self::Billing];

    /// Returns the name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Clinical => "clinical",
            Self::Prescription => "prescription",
            Self::Billing => "billing",
        }
    }

    /// Returns the scopes of the category's agent for a patient. The clinical agent may prescribe so that it can delegate;
    /// the prescription agent may not, until it gets a delegated token.
    #[must_use]
    pub fn scopes(self, patient: &PatientId) -> Vec<String> {
        let own = TOOLS.iter().filter(|tool| tool.category == self && tool.name != PRESCRIBE).map(|tool| tool.scope);
        let extra = (self == Self::Clinical).then_some("write:prescriptions:{patient_id}");
        let mut scopes: Vec<_> = own.chain(extra).map(|template| filled(template, patient.as_str())).collect();
        // Two tools may need the same one.
        scopes.dedup();
        scopes
    }
}

/// Name of the tool that requires a delegated token.
pub(super) const PRESCRIBE: &str = "prescribe";

/// Tool of the model.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) name: &'static str,
    pub(super) category: Category,
    /// Scope that the hospital's route requires.
    pub(super) scope: &'static str,
    description: &'static str,
    method: Method,
    path: &'static str,
    /// Members of the path and of the body: name, JSON type, description.
    parameters: &'static [(&'static str, &'static str, &'static str)],
}

/// Request of a tool call.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ToolRequest {
    pub(super) request: ServiceRequest,
    /// Scope that the route requires, as far as the arguments name it.
    pub(super) needed: String,
}

const PATIENT: (&str, &str, &str) = ("patient_id", "string", "number of the patient, like P-1042");
const DRUG: (&str, &str, &str) = ("drug", "string", "name of the drug");

pub(super) const TOOLS: [Tool; 12] = [
    Tool {
        name: "read_chart",
        category: Category::Clinical,
        scope: "read:records:{patient_id}",
        description: "Reads diagnoses, allergies and history of a patient.",
        method: Method::GET,
        path: "/patients/{patient_id}/records",
        parameters: &[PATIENT],
    },
    Tool {
        name: "read_visits",
        category: Category::Clinical,
        scope: "read:records:{patient_id}",
        description: "Reads the visits of a patient with their vital signs.",
        method: Method::GET,
        path: "/patients/{patient_id}/visits",
        parameters: &[PATIENT],
    },
    Tool {
        name: "read_labs",
        category: Category::Clinical,
        scope: "read:labs:{patient_id}",
        description: "Reads the laboratory results of a patient.",
        method: Method::GET,
        path: "/patients/{patient_id}/labs",
        parameters: &[PATIENT],
    },
    Tool {
        name: "read_notes",
        category: Category::Clinical,
        scope: "read:notes:{patient_id}",
        description: "Reads the clinical notes about a patient.",
        method: Method::GET,
        path: "/patients/{patient_id}/notes",
        parameters: &[PATIENT],
    },
    Tool {
        name: "write_note",
        category: Category::Clinical,
        scope: "write:notes:{patient_id}",
        description: "Adds a clinical note to a patient's file.",
        method: Method::POST,
        path: "/patients/{patient_id}/notes",
        parameters: &[PATIENT, ("text", "string", "text of the note")],
    },
    Tool {
        name: "list_formulary",
        category: Category::Prescription,
        scope: "read:formulary:*",
        description: "Lists the drugs of the pharmacy with their limits.",
        method: Method::GET,
        path: "/formulary",
        parameters: &[],
    },
    Tool {
        name: "check_interactions",
        category: Category::Prescription,
        scope: "read:interactions:{patient_id}",
        description: "Lists the interactions of a drug with those that the patient takes.",
        method: Method::GET,
        path: "/patients/{patient_id}/interactions/{drug}",
        parameters: &[PATIENT, DRUG],
    },
    Tool {
        name: PRESCRIBE,
        category: Category::Prescription,
        scope: "write:prescriptions:{patient_id}",
        description: "Prescribes a drug. Check its interactions first.",
        method: Method::POST,
        path: "/patients/{patient_id}/prescriptions",
        parameters: &[
            PATIENT,
            DRUG,
            ("dose_mg", "integer", "single dose in mg"),
            ("times_per_day", "integer", "doses a day"),
            ("days", "integer", "duration in days"),
        ],
    },
    Tool {
        name: "read_invoices",
        category: Category::Billing,
        scope: "read:billing:{patient_id}",
        description: "Reads the invoices of a patient.",
        method: Method::GET,
        path: "/patients/{patient_id}/billing",
        parameters: &[PATIENT],
    },
    Tool {
        name: "read_insurance",
        category: Category::Billing,
        scope: "read:insurance:{patient_id}",
        description: "Reads insurer, plan, copay and deductible of a patient.",
        method: Method::GET,
        path: "/patients/{patient_id}/insurance",
        parameters: &[PATIENT],
    },
    Tool {
        name: "list_billing_codes",
        category: Category::Billing,
        scope: "read:billing-codes:*",
        description: "Lists the codes of the hospital's services, which a claim names.",
        method: Method::GET,
        path: "/billing-codes",
        parameters: &[],
    },
    Tool {
        name: "file_claim",
        category: Category::Billing,
        scope: "write:claims:{patient_id}",
        description: "Files a claim for an open invoice with the patient's insurer.",
        method: Method::POST,
        path: "/patients/{patient_id}/claims",
        parameters: &[
            PATIENT,
            ("invoice_id", "string", "number of the invoice, like I-88101"),
            ("code", "string", "code of the invoice's service"),
        ],
    },
];

/// Returns the tool of this name.
pub(super) fn named(name: &str) -> Option<&'static Tool> {
    const TABLE: &[Tool] = &TOOLS;
    TABLE.iter().find(|tool| tool.name == name)
}

/// Returns the tools as the model gets them.
#[must_use]
pub fn specs() -> Vec<ToolSpec> {
    TOOLS.iter().map(Tool::spec).collect()
}

impl Tool {
    fn spec(&self) -> ToolSpec {
        ToolSpec::with_arguments(self.name, self.description, self.parameters)
    }

    /// Returns the request of a call, or a message for the model if an argument is missing or of another type. The values
    /// are the hospital's to judge.
    pub(super) fn request(&self, arguments: &Value) -> Result<ToolRequest, String> {
        let (mut path, mut body) = (self.path.to_owned(), Map::new());
        for (name, kind, _) in self.parameters {
            let value = arguments.get(*name).ok_or_else(|| format!("`{name}` is missing"))?;
            let place = format!("{{{name}}}");
            match value {
                Value::String(text) if path.contains(&place) => {
                    let segment = path_segment(text).ok_or_else(|| format!("`{name}` cannot be part of a path"))?;
                    path = path.replace(&place, &segment);
                }
                Value::String(_) if *kind == "string" => drop(body.insert((*name).to_owned(), value.clone())),
                Value::Number(_) if *kind == "integer" => drop(body.insert((*name).to_owned(), value.clone())),
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_)
                | Value::Object(_) => return Err(format!("`{name}` is not of the type {kind}")),
            }
        }
        let patient = arguments.get("patient_id").and_then(Value::as_str).unwrap_or_default();
        let body = (self.method == Method::POST).then_some(Value::Object(body));
        let request = ServiceRequest { method: self.method.clone(), path, body };
        Ok(ToolRequest { request, needed: filled(self.scope, patient) })
    }
}

fn filled(template: &str, patient: &str) -> String {
    template.replace("{patient_id}", patient)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn prescription_agent_lacks_scope_to_prescribe() {
        let patient = PatientId::parse("P-1042").unwrap();
        assert_eq!(Category::Prescription.scopes(&patient), ["read:formulary:*", "read:interactions:P-1042"]);
        assert!(Category::Clinical.scopes(&patient).contains(&"write:prescriptions:P-1042".to_owned()));
    }

    #[test]
    fn argument_is_one_segment_of_path() {
        let tool = named("check_interactions").unwrap();
        let request = tool.request(&json!({"patient_id": "P-1/../x", "drug": "a b?c#d"})).unwrap();
        assert_eq!(request.request.path, "/patients/P-1%2F..%2Fx/interactions/a%20b%3Fc%23d");
        assert_eq!(tool.request(&json!({"patient_id": "P-1"})), Err("`drug` is missing".to_owned()));
        assert_eq!(
            tool.request(&json!({"patient_id": 1042, "drug": "a"})),
            Err("`patient_id` is not of the type string".to_owned())
        );
        let empty = named("read_chart").unwrap().request(&json!({"patient_id": ".."}));
        assert_eq!(empty, Err("`patient_id` cannot be part of a path".to_owned()));
    }

    #[test]
    fn specs_name_every_parameter() {
        let specs = specs();
        assert_eq!(specs.len(), 12);
        let prescribe = specs.iter().find(|spec| spec.name == PRESCRIBE).unwrap();
        assert_eq!(prescribe.parameters["required"].as_array().unwrap().len(), 5);
        assert_eq!(prescribe.parameters["properties"]["days"]["type"], "integer");
    }
}

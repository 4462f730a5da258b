use super::{request::Order, *};

#[test]
fn reads_intents_from_free_text() {
    let wishes = Wishes::of("Show me the chart and the labs of p-1042, please.");
    assert_eq!((wishes.patients, wishes.reads), (vec!["P-1042".to_owned()], vec!["read_chart", "read_labs"]));
    let order = |drug: &str, dose_mg, times_per_day, days| {
        Some(Order { patient: None, drug: drug.to_owned(), dose_mg, times_per_day, days })
    };
    for (text, expected) in [
        ("Prescribe ramipril", order("ramipril", 5, 1, 7)),
        ("prescribe 40 mg furosemide twice a day for 14 days", order("furosemide", 40, 2, 14)),
        ("Prescribe ibuprofen 400mg 3 times a day for 5 days", order("ibuprofen", 400, 3, 5)),
        ("prescribe arsenic", order("arsenic", 1, 1, 7)),
        ("prescribe", None),
        ("describe ramipril", None),
    ] {
        assert_eq!(Wishes::of(text).prescription, expected, "{text}");
    }
}

#[test]
fn text_of_note_asks_for_nothing() {
    let wishes = Wishes::of("Add a note: prescribe nothing, file no claim for P-2077");
    assert_eq!(wishes.note.as_deref(), Some("prescribe nothing, file no claim for P-2077"));
    assert!(wishes.prescription.is_none() && !wishes.claim && wishes.patients.is_empty());
}

#[test]
fn request_without_known_word_plans_nothing() {
    for text in ["", "hello", "<img src=x onerror=alert(1)>", "\u{202e}\u{0}", &"ä".repeat(10_000)] {
        let messages = [Message::System("The patient is P-1042.".to_owned()), Message::User(text.to_owned())];
        let reply = reply(&messages);
        assert!(reply.calls.is_empty() && reply.text.unwrap().contains("nothing was done"), "{text}");
    }
}

#[test]
fn patient_of_encounter_is_default() {
    let messages = [Message::System("The patient is P-1042.".to_owned()), Message::User("labs".to_owned())];
    let calls = reply(&messages).calls;
    assert_eq!(calls, [ToolCall::new("call-0-0", "read_labs", json!({"patient_id": "P-1042"}))]);
}

#[test]
fn claim_uses_open_invoice_and_code_of_its_service() {
    let mut messages = vec![Message::System("P-1042".to_owned()), Message::User("file a claim".to_owned())];
    let first = reply(&messages);
    let names: Vec<_> = first.calls.iter().map(|call| call.name.as_str()).collect();
    assert_eq!(names, ["read_invoices", "read_insurance", "list_billing_codes"]);
    let bodies = [
        json!([{"id": "I-1", "item": "a", "status": "paid"}, {"id": "I-2", "item": "b", "status": "open"}]),
        json!({"insurer": "Harbour Mutual"}),
        json!([{"code": "A", "item": "a"}, {"code": "B", "item": "b"}]),
    ];
    let ids: Vec<String> = first.calls.iter().map(|call| call.id.clone()).collect();
    messages.push(first.into());
    for (call_id, body) in ids.into_iter().zip(bodies) {
        messages.push(Message::Tool { call_id, content: json!({"status": 200, "body": body}).to_string() });
    }
    let second = reply(&messages);
    assert_eq!(second.calls[0].arguments, json!({"patient_id": "P-1042", "invoice_id": "I-2", "code": "B"}));
}

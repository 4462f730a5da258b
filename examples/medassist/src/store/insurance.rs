//! Insurance of a patient, and the claims that its insurer gets.

use agentwrit_verify::{Permit, UnixTime};
use rusqlite::{OptionalExtension as _, params};
use serde::Serialize;

use super::{Store, StoreError};
use crate::PatientId;

/// Insurance of a patient.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Insurance {
    pub(crate) insurer: String,
    pub(crate) plan: String,
    pub(crate) member_number: String,
    pub(crate) group_number: String,
    /// Part of each invoice that the patient pays.
    pub(crate) copay_percent: u32,
    /// Amount that the patient pays before the insurer pays anything.
    pub(crate) deductible_left_cents: u32,
}

/// Code of a service.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct BillingCode {
    code: String,
    item: String,
}

/// Claim for an invoice, with its author.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Claim {
    pub(crate) id: i64,
    pub(crate) invoice_id: String,
    pub(crate) code: String,
    pub(crate) insurer_cents: u32,
    pub(crate) patient_cents: u32,
    pub(crate) filed_at: String,
    pub(crate) filed_by: String,
    pub(crate) token_id: String,
}

/// Reason for which an invoice cannot be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotClaimable {
    NoInsurance,
    UnknownInvoice,
    CodeOfAnotherService,
    ClaimedBefore,
}

impl Store {
    pub(crate) async fn insurance(&self, patient: PatientId) -> Result<Option<Insurance>, StoreError> {
        self.run(move |connection| insurance(connection, patient.as_str())).await
    }

    pub(crate) async fn billing_codes(&self) -> Result<Vec<BillingCode>, StoreError> {
        self.run(|connection| {
            let mut query = connection.prepare_cached("SELECT code, item FROM billing_codes ORDER BY code")?;
            query.query_map([], |row| Ok(BillingCode { code: row.get(0)?, item: row.get(1)? }))?.collect()
        })
        .await
    }

    /// Files a claim for an invoice of the permit's patient, by the permit's subject. The insurer pays what the invoice
    /// exceeds the rest of the deductible by, less the patient's copay.
    pub(crate) async fn file_claim(
        &self,
        permit: &Permit,
        invoice_id: String,
        code: String,
        now: UnixTime,
    ) -> Result<Result<Claim, NotClaimable>, StoreError> {
        let patient = permit.scope().identifier().to_owned();
        let (filed_by, token_id) = (permit.subject().to_string(), permit.token_id().to_string());
        self.run(move |connection| {
            let transaction = connection.unchecked_transaction()?;
            let Some(insurance) = insurance(&transaction, &patient)? else { return Ok(Err(NotClaimable::NoInsurance)) };
            let sql = "SELECT item, amount_cents, EXISTS (SELECT 1 FROM claims WHERE invoice_id = ?1),
                              EXISTS (SELECT 1 FROM billing_codes WHERE code = ?3 AND item = invoices.item)
                       FROM invoices WHERE id = ?1 AND patient_id = ?2";
            let row = transaction.query_row(sql, params![invoice_id, patient, code], |row| {
                Ok((row.get::<_, u32>(1)?, row.get::<_, bool>(2)?, row.get::<_, bool>(3)?))
            });
            let amount = match row.optional()? {
                None => return Ok(Err(NotClaimable::UnknownInvoice)),
                Some((_, true, _)) => return Ok(Err(NotClaimable::ClaimedBefore)),
                Some((_, _, false)) => return Ok(Err(NotClaimable::CodeOfAnotherService)),
                Some((amount, false, true)) => amount,
            };
            let deductible = insurance.deductible_left_cents.min(amount);
            let insurer_cents = (amount - deductible) / 100 * (100 - insurance.copay_percent.min(100));
            let mut claim = Claim {
                id: 0,
                invoice_id,
                code,
                insurer_cents,
                patient_cents: amount - insurer_cents,
                filed_at: now.to_rfc3339(),
                filed_by,
                token_id,
            };
            let sql =
                "INSERT INTO claims (patient_id, invoice_id, code, insurer_cents, patient_cents, filed_at, filed_by,
                       token_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
            let Claim { invoice_id, code, insurer_cents, patient_cents, filed_at, filed_by, token_id, .. } = &claim;
            let values = params![patient, invoice_id, code, insurer_cents, patient_cents, filed_at, filed_by, token_id];
            transaction.execute(sql, values)?;
            claim.id = transaction.last_insert_rowid();
            let sql = "UPDATE insurance SET deductible_left_cents = deductible_left_cents - ?2 WHERE patient_id = ?1";
            transaction.execute(sql, params![patient, deductible])?;
            transaction.commit()?;
            Ok(Ok(claim))
        })
        .await
    }
}

fn insurance(connection: &super::Connection, patient: &str) -> rusqlite::Result<Option<Insurance>> {
    let sql = "SELECT insurer, plan, member_number, group_number, copay_percent, deductible_left_cents FROM insurance
               WHERE patient_id = ?1";
    connection
        .prepare_cached(sql)?
        .query_row([patient], |row| {
            Ok(Insurance {
                insurer: row.get(0)?,
                plan: row.get(1)?,
                member_number: row.get(2)?,
                group_number: row.get(3)?,
                copay_percent: row.get(4)?,
                deductible_left_cents: row.get(5)?,
            })
        })
        .optional()
}

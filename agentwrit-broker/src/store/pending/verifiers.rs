//! Rows of enrolled verifiers and their instances.

use agentwrit_verify::report::{ReportedBound, VerifierName};

use super::{
    super::{codec::signed, value::Value},
    record::{
        Kind::{Boolean, Bytes, Integer, Text},
        Record,
        Verb::{Delete, Insert},
        Write,
    },
};
use crate::domain::{Enrolment, InstanceState};

/// A verifier, whose former row is deleted before.
#[derive(Debug)]
pub(in crate::store) struct EnrolmentRow(pub(in crate::store) Enrolment);

impl Record for EnrolmentRow {
    const WRITE: Write = Write {
        verb: Insert,
        table: "verifiers",
        columns: &[
            ("name", Text),
            ("public_key", Bytes),
            ("max_bound", Integer),
            ("added_at", Integer),
            ("removed_at", Integer),
            ("former_bound", Integer),
            ("former_ended_at", Integer),
            ("instances_since", Integer),
            ("may_have_unbounded", Boolean),
        ],
    };

    fn values<'r>(&'r self, values: &mut Vec<Value<'r>>) {
        let Self(enrolment) = self;
        values.extend([
            enrolment.name.as_str().into(),
            enrolment.public_key.as_bytes().into(),
            enrolment.max_bound.map(signed).into(),
            enrolment.added_at.into(),
            enrolment.removed_at.into(),
            enrolment.former.and_then(|former| former.max_bound).map(signed).into(),
            enrolment.former.map(|former| former.ended_at).into(),
            enrolment.instances_since.into(),
            enrolment.may_have_unbounded.into(),
        ]);
    }
}

/// The deletion of a verifier's row.
#[derive(Debug)]
pub(in crate::store) struct EnrolmentDeletion(pub(in crate::store) VerifierName);

impl Record for EnrolmentDeletion {
    const WRITE: Write = Write { verb: Delete, table: "verifiers", columns: &[("name", Text)] };

    fn values<'r>(&'r self, values: &mut Vec<Value<'r>>) {
        values.push(self.0.as_str().into());
    }
}

/// A new instance.
#[derive(Debug)]
pub(in crate::store) struct InstanceRow(pub(in crate::store) InstanceState);

impl Record for InstanceRow {
    const WRITE: Write = Write {
        verb: Insert,
        table: "verifier_instances",
        columns: &[
            ("verifier", Text),
            ("instance", Text),
            ("seq", Integer),
            ("epoch", Text),
            ("cursor", Integer),
            ("bound", Integer),
            ("kids", Text),
            ("drained", Integer),
            ("leaving", Boolean),
            ("heard_at", Integer),
            ("signed", Text),
            ("is_ahead", Boolean),
            ("public_key", Bytes),
        ],
    };

    fn values<'r>(&'r self, values: &mut Vec<Value<'r>>) {
        let Self(state) = self;
        values.extend([
            state.verifier.as_str().into(),
            state.instance.to_string().into(),
            signed(state.sequence).into(),
            state.applied.epoch().into(),
            signed(state.applied.position()).into(),
            stored_bound(state.bound).into(),
            state.key_set.map(|digest| digest.to_string()).into(),
            state.drained.map(signed).into(),
            state.leaving.into(),
            state.heard_at.into(),
            (&*state.signed).into(),
            state.is_ahead.into(),
            (&state.public_key).into(),
        ]);
    }
}

/// Returns the bound in seconds; `None` without one.
pub(in crate::store) fn stored_bound(bound: ReportedBound) -> Option<i64> {
    match bound {
        ReportedBound::Seconds(seconds) => Some(signed(seconds)),
        ReportedBound::Unbounded => None,
    }
}

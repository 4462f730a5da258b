//! Read access of jobs to a store. Each store implements the tables' traits, whose provided methods are what the stores share.

use super::{
    agents::ReadAgents, apps::ReadApps, audit_log::ReadAudit, keys::ReadKeys, launch_tokens::ReadLaunchTokens,
    meta::ReadMeta, names::ReadNames, revocations::ReadRevocations, tokens::ReadTokens, trust_rules::ReadTrustRules,
    verifiers::ReadVerifiers,
};

/// Read access to one consistent state.
pub trait Reader:
    ReadApps
    + ReadAgents
    + ReadLaunchTokens
    + ReadTokens
    + ReadTrustRules
    + ReadRevocations
    + ReadVerifiers
    + ReadMeta
    + ReadNames
    + ReadAudit
    + ReadKeys
{
}

impl<R> Reader for R where
    R: ReadApps
        + ReadAgents
        + ReadLaunchTokens
        + ReadTokens
        + ReadTrustRules
        + ReadRevocations
        + ReadVerifiers
        + ReadMeta
        + ReadAudit
        + ReadKeys
        + ?Sized
{
}

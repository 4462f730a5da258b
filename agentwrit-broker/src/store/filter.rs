//! Filters of the lists of agents and tokens, as conditions for the statements of any store.

use std::fmt::Write;

use agentwrit_verify::{AgentId, AppId, PathSegment, Scope, Subject, TrustDomain, UnixTime};

use super::{StoreError, names::ReadNames, value::Value};

/// Agents to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentFilter {
    /// One agent.
    pub agent_id: Option<AgentId>,
    /// App that it belongs to.
    pub app_id: Option<AppId>,
    /// Orchestration and task of its id.
    pub work: Work,
    /// Scope that its scopes cover.
    pub scope: Option<Scope>,
    /// Time at which it is not revoked, nor has its latest token expired.
    pub live_at: Option<UnixTime>,
}

/// Tokens to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenFilter {
    /// Subject of the token.
    pub subject: Option<Subject>,
    /// Agent in its delegation chain.
    pub delegator: Option<AgentId>,
    /// App that it belongs to.
    pub app_id: Option<AppId>,
    /// Task that it was issued for.
    pub task_id: Option<PathSegment>,
    /// Orchestration that it was issued for.
    pub work: Work,
    /// Scope that its scopes cover.
    pub scope: Option<Scope>,
    /// Time at which it has neither ended nor expired.
    pub live_at: Option<UnixTime>,
}

/// Orchestration and task in the id of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Beginning of the ids of an orchestration.
    prefix: Option<String>,
    task: Option<PathSegment>,
}

impl Work {
    /// Agents of an orchestration, a task, or both.
    #[must_use]
    pub fn of(trust_domain: &TrustDomain, orch_id: Option<&PathSegment>, task_id: Option<&PathSegment>) -> Self {
        let prefix = orch_id.map(|orch_id| format!("spiffe://{trust_domain}/agent/{orch_id}/"));
        Self { prefix, task: task_id.cloned() }
    }
}

/// Page of agents: conditions, then the cursor before the page, limit and offset.
pub(super) const AGENTS: &str = "SELECT app.name, agents.scope, public_key, launch_token_id, registered_at, expires_at, \
     revoked_at, agents.sender_constrained, attested_by, attested_issuer, attested_subject, pod_uid, agent.name, agents.id FROM agents CROSS JOIN names AS agent \
     LEFT JOIN names AS app ON app.id = agents.app WHERE agent.id = agents.id AND {conditions} AND agents.id > # \
     ORDER BY agents.id LIMIT # OFFSET #";

/// Columns of the record of a token.
macro_rules! token_columns {
    () => {
        "tokens.jti, tokens.sid, subject.name, app.name, task.name, root.name, issued_at, tokens.expires_at, \
         original_ttl, session_started_at, ended_at, tokens.sender_constrained, tokens.scope"
    };
}
pub(super) use token_columns;

/// Page of tokens: conditions, then time of issue and id of the token before the page, limit and offset. Names are looked up for
/// the tokens of the page only. `$order` is before the column that they are ordered by.
macro_rules! tokens_page {
    ($order:literal) => {
        concat!(
            "SELECT ",
            token_columns!(),
            ", CASE WHEN tokens.scope IS NOT NULL THEN tokens.scope WHEN tokens.root IS NULL THEN agents.scope END \
             FROM (SELECT * FROM tokens WHERE {conditions} AND (",
            $order,
            "tokens.issued_at, tokens.jti) > (#, #) ORDER BY ",
            $order,
            "tokens.issued_at, tokens.jti LIMIT # OFFSET #) AS tokens \
             JOIN names AS subject ON subject.id = tokens.subject LEFT JOIN agents ON agents.id = tokens.subject \
             LEFT JOIN names AS app ON app.id = tokens.app LEFT JOIN names AS task ON task.id = tokens.task \
             LEFT JOIN names AS root ON root.id = tokens.root ORDER BY tokens.issued_at, tokens.jti"
        )
    };
}

/// Number of tokens that are collected and sorted for a page. More than that are met soon enough in the order of their index.
const FEW: u64 = 1_000;

/// Returns the statement for a page of the tokens that match.
pub(super) fn page_of_tokens(total: u64) -> &'static str {
    // A sign keeps a database from using the index of the column.
    if total <= FEW { tokens_page!("+") } else { tokens_page!("") }
}

/// Dialect of a store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    /// Character before the number of a parameter.
    pub(super) parameter: char,
    /// Function that returns the place of a text in another one, 0 if it is not there.
    pub(super) find: &'static str,
    /// Sign before a column whose index is not to be used: most tokens have not expired.
    pub(super) unindexed: &'static str,
    /// Condition that a number is among those that a statement in the place of `{}` returns, and that the statement is run once.
    pub(super) among: &'static str,
}

/// Conditions of a statement, with their parameters.
#[derive(Debug)]
pub(super) struct Conditions<'f> {
    dialect: Dialect,
    text: String,
    pub(super) values: Vec<Value<'f>>,
}

impl<'f> Conditions<'f> {
    /// Returns the conditions of agents, whose table is `agents`, with its name as `agent`. `None` if no agent meets them.
    pub(super) fn of_agents<R: ReadNames + ?Sized>(
        dialect: Dialect,
        reader: &R,
        filter: &'f AgentFilter,
    ) -> Result<Option<Self>, StoreError> {
        let mut conditions = Self::new(dialect);
        if let Some(agent) = &filter.agent_id {
            let Some(name) = reader.name(agent.as_str())? else { return Ok(None) };
            conditions.and("agents.id = #", [name.id.into()]);
        }
        if let Some(app) = &filter.app_id {
            let Some(key) = reader.app_key(app)? else { return Ok(None) };
            conditions.and("agents.app = #", [key.into()]);
        }
        if let Some(task) = &filter.work.task {
            let Some(name) = reader.name(task.as_str())? else { return Ok(None) };
            conditions.and("agents.task = #", [name.id.into()]);
        }
        if let Some(prefix) = &filter.work.prefix {
            // Names stay for ever: those of agents that are deleted are left out.
            let ids = "SELECT id FROM names WHERE name >= # AND name < # AND id >= (SELECT min(id) FROM agents)";
            conditions.and(&format!("agents.id {}", dialect.among.replace("{}", ids)), range(prefix));
        }
        if let Some(scope) = &filter.scope {
            let covers = conditions.covers("agents.scope");
            conditions.and(&covers, sought(scope));
        }
        if let Some(now) = filter.live_at {
            conditions.and_unset("agents.revoked_at");
            conditions.and("agents.expires_at > #", [now.into()]);
        }
        Ok(Some(conditions))
    }

    /// Returns the conditions of tokens, whose table is `tokens`. `None` if no token meets them.
    pub(super) fn of_tokens<R: ReadNames + ?Sized>(
        dialect: Dialect,
        reader: &R,
        filter: &'f TokenFilter,
    ) -> Result<Option<Self>, StoreError> {
        let mut conditions = Self::new(dialect);
        if let Some(subject) = &filter.subject {
            let Some(name) = reader.name(&subject.to_string())? else { return Ok(None) };
            conditions.and("tokens.subject = #", [name.id.into()]);
        }
        if let Some(agent) = &filter.delegator {
            let Some(name) = reader.name(agent.as_str())? else { return Ok(None) };
            conditions.and(
                "tokens.jti IN (SELECT jti FROM token_delegators WHERE token_delegators.agent = #)",
                [name.id.into()],
            );
        }
        if let Some(app) = &filter.app_id {
            let Some(key) = reader.app_key(app)? else { return Ok(None) };
            conditions.and("tokens.app = #", [key.into()]);
        }
        for task in filter.task_id.iter().chain(&filter.work.task) {
            let Some(name) = reader.name(task.as_str())? else { return Ok(None) };
            conditions.and("tokens.task = #", [name.id.into()]);
        }
        if let Some(prefix) = &filter.work.prefix {
            // A delegated token keeps the orchestration of the first delegator.
            let ids = "SELECT id FROM names WHERE name >= # AND name < #";
            conditions.and(&format!("coalesce(tokens.root, tokens.subject) IN ({ids})"), range(prefix));
        }
        if let Some(scope) = &filter.scope {
            // Most tokens have the scopes of an agent: each agent's are searched once.
            let (own, of_agent) = (conditions.covers("tokens.scope"), conditions.covers("agents.scope"));
            let of_agents = format!("tokens.subject IN (SELECT id FROM agents WHERE {of_agent})");
            let held =
                format!("CASE WHEN tokens.scope IS NULL THEN tokens.root IS NULL AND {of_agents} ELSE {own} END");
            conditions.and(&held, sought(scope).into_iter().chain(sought(scope)));
        }
        if let Some(now) = filter.live_at {
            conditions.and_unset("tokens.ended_at");
            conditions.and(&format!("{}tokens.expires_at > #", dialect.unindexed), [now.into()]);
        }
        Ok(Some(conditions))
    }

    fn new(dialect: Dialect) -> Self {
        Self { dialect, text: "1 = 1".to_owned(), values: Vec::new() }
    }

    /// Adds a condition. Each `#` in it stands for the next of `values`.
    pub(super) fn and(&mut self, condition: &str, values: impl IntoIterator<Item = Value<'f>>) {
        self.text.push_str(" AND ");
        self.push(condition);
        self.values.extend(values);
    }

    /// Returns the statement that counts the agents.
    pub(super) fn count_of_agents(&self) -> String {
        format!("SELECT count(*) FROM agents WHERE {}", self.text)
    }

    /// Returns the statement that counts the tokens.
    pub(super) fn count_of_tokens(&self) -> String {
        format!("SELECT count(*) FROM tokens WHERE {}", self.text)
    }

    /// Returns `text` with numbered parameters, each `#` in it standing for the next of `values`.
    pub(super) fn numbered(
        mut self,
        text: &str,
        values: impl IntoIterator<Item = Value<'f>>,
    ) -> (String, Vec<Value<'f>>) {
        let conditions = std::mem::take(&mut self.text);
        let (before, after) = text.split_once("{conditions}").unwrap_or((text, ""));
        self.text.push_str(before);
        self.text.push_str(&conditions);
        self.push(after);
        self.values.extend(values);
        (self.text, self.values)
    }

    fn push(&mut self, text: &str) {
        let mut number = self.values.len();
        for character in text.chars() {
            if character == '#' {
                number = number.saturating_add(1);
                // Writing to a `String` cannot fail.
                write!(self.text, "{}{number}", self.dialect.parameter).unwrap_or_default();
            } else {
                self.text.push(character);
            }
        }
    }

    /// Adds that a time is not set. PostgreSQL without statistics of the table takes `IS NULL` to be true of one row in 200, and
    /// would sort all rows for a page.
    fn and_unset(&mut self, time: &str) {
        self.and(&format!("({time} > 0) IS NOT TRUE"), []);
    }

    /// Returns the condition that a list of scopes has one of two texts, for the values of [`sought`].
    fn covers(&self, list: &str) -> String {
        let find = self.dialect.find;
        // Few lists have the text at all, and the others need no copy.
        let holds = format!("({find}({list}, #) > 0 AND {find}(' ' || {list} || ' ', #) > 0)");
        format!("({holds} OR {holds})")
    }
}

/// Returns what a list of scopes that covers `scope` has, each without and with the spaces around it: the scope itself, or the
/// wildcard of its action and resource.
fn sought(scope: &Scope) -> [Value<'static>; 4] {
    let (exact, wildcard) = (scope.to_string(), format!("{}:{}:*", scope.action(), scope.resource()));
    let padded = [&exact, &wildcard].map(|text| format!(" {text} ").into());
    let [padded_exact, padded_wildcard] = padded;
    [exact.into(), padded_exact, wildcard.into(), padded_wildcard]
}

/// Returns the first text that begins with `prefix`, which ends with `/`, and the first one after all of them.
fn range(prefix: &str) -> [Value<'_>; 2] {
    // The character after `/` is `0`.
    [prefix.into(), format!("{}0", prefix.trim_end_matches('/')).into()]
}

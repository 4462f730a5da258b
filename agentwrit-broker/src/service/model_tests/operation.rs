//! Operations of a history.

use agentwrit_verify::Level;
use proptest::{collection::vec, prelude::*, sample::Index};

/// Indices choose among what there is when their turn comes; with nothing to choose from, nothing happens.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    LogIn,
    AppLogIn(Index),
    /// A login with the secret before the latest rotation.
    AppLogInWithFormerSecret(Index),
    RotateSecret {
        app: Index,
        overlap: u64,
    },
    /// A launch token, and a registration with it at once.
    RegisterWithNewLaunchToken {
        owner: Option<Index>,
        launch: Launch,
        registration: Registration,
    },
    Launch {
        owner: Option<Index>,
        launch: Launch,
    },
    Register {
        launch: Index,
        registration: Registration,
    },
    Renew(Index),
    Delegate {
        from: Index,
        to: Index,
        scopes: u8,
        ttl: u64,
    },
    /// A delegation; then the delegate's own app is suspended or narrowed, and the delegated token is renewed.
    DelegateAndStop {
        from: Index,
        to: Index,
        scopes: u8,
        ceiling: Option<u8>,
    },
    Release(Index),
    Revoke(Target),
    SetCeiling {
        app: Index,
        scopes: u8,
    },
    SetBinding {
        app: Index,
        binds: bool,
    },
    Suspend(Index),
    Resume(Index),
    Deregister(Index),
    Advance {
        milliseconds: u64,
    },
    Tidy,
    Restart,
}

#[derive(Clone, Debug)]
pub(super) struct Launch {
    pub(super) scopes: u8,
    pub(super) max_ttl: u64,
    pub(super) single_use: bool,
    pub(super) ttl: u64,
    pub(super) binds: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Registration {
    pub(super) scopes: u8,
    pub(super) task: u8,
    /// It requests bound tokens.
    pub(super) binds: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Target {
    /// Some token's id.
    Token(Index),
    /// The subject of some token, at level agent or chain.
    Subject {
        of: Index,
        level: Level,
    },
    Task(u8),
    /// A target that never existed, at each level.
    Unknown(Level),
}

pub(super) fn operations() -> impl Strategy<Value = Vec<Operation>> {
    vec(operation(), 1..32)
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation as Op;

    let any_index = any::<Index>;
    let owner = || proptest::option::of(any_index());
    prop_oneof![
        1 => Just(Op::LogIn),
        1 => any_index().prop_map(Op::AppLogIn),
        2 => any_index().prop_map(Op::AppLogInWithFormerSecret),
        1 => (any_index(), prop_oneof![Just(0), 1_u64..60])
            .prop_map(|(app, overlap)| Op::RotateSecret { app, overlap }),
        5 => (owner(), launch(), registration())
            .prop_map(|(owner, launch, registration)| Op::RegisterWithNewLaunchToken { owner, launch, registration }),
        1 => (owner(), launch()).prop_map(|(owner, launch)| Op::Launch { owner, launch }),
        1 => (any_index(), registration()).prop_map(|(launch, registration)| Op::Register { launch, registration }),
        4 => any_index().prop_map(Op::Renew),
        6 => (any_index(), any_index(), subset(), 1_u64..120)
            .prop_map(|(from, to, scopes, ttl)| Op::Delegate { from, to, scopes, ttl }),
        3 => (any_index(), any_index(), subset(), proptest::option::of(subset()))
            .prop_map(|(from, to, scopes, ceiling)| Op::DelegateAndStop { from, to, scopes, ceiling }),
        1 => any_index().prop_map(Op::Release),
        3 => target().prop_map(Op::Revoke),
        1 => (any_index(), subset()).prop_map(|(app, scopes)| Op::SetCeiling { app, scopes }),
        1 => (any_index(), any::<bool>()).prop_map(|(app, binds)| Op::SetBinding { app, binds }),
        1 => any_index().prop_map(Op::Suspend),
        2 => any_index().prop_map(Op::Resume),
        1 => any_index().prop_map(Op::Deregister),
        3 => prop_oneof![1_u64..1500, 1_u64..40_000].prop_map(|milliseconds| Op::Advance { milliseconds }),
        1 => Just(Op::Tidy),
        1 => Just(Op::Restart),
    ]
}

fn launch() -> impl Strategy<Value = Launch> {
    let fields = (subset(), 1_u64..120, any::<bool>(), 1_u64..60, binds());
    fields.prop_map(|(scopes, max_ttl, single_use, ttl, binds)| Launch { scopes, max_ttl, single_use, ttl, binds })
}

fn registration() -> impl Strategy<Value = Registration> {
    (subset(), 0_u8..3, binds()).prop_map(|(scopes, task, binds)| Registration { scopes, task, binds })
}

/// Bearer tokens are more likely, so that bound and unbound tokens meet in chains.
fn binds() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.2)
}

/// Large subsets are more likely, so that most requests are granted.
fn subset() -> impl Strategy<Value = u8> {
    prop_oneof![Just(0b00_1001), Just(0b11_1111), Just(0b00_0010), 1_u8..64]
}

fn target() -> impl Strategy<Value = Target> {
    let by_subject = prop_oneof![Just(Level::Agent), Just(Level::Chain)];
    let level = prop_oneof![Just(Level::Token), Just(Level::Agent), Just(Level::Task), Just(Level::Chain)];
    prop_oneof![
        3 => any::<Index>().prop_map(Target::Token),
        4 => (any::<Index>(), by_subject).prop_map(|(of, level)| Target::Subject { of, level }),
        2 => (0_u8..3).prop_map(Target::Task),
        1 => level.prop_map(Target::Unknown),
    ]
}

//! Kubernetes: service accounts' tokens, their review, and pods that are deleted.
//!
//! 1. Projected tokens are verified offline by the cluster's key set, as any `OpenID` provider's. A rule with `token_review` asks
//!    the API server too, which knows deleted pods and service accounts, and fails closed.
//! 2. The API server is the one of `AA_KUBERNETES_API_URL`. Only the authorities of `AA_KUBERNETES_CA_PATH` are trusted for it;
//!    the broker's own token is read again for every request, since the kubelet replaces it.
//! 3. With `AA_KUBERNETES_WATCH` the agents of a deleted pod are revoked at once: see [`watch`].

mod api;
mod cluster;
mod cluster_pods;
mod review;
mod service_account;
mod watch;

pub use self::api::KubernetesSetupError;
pub(crate) use self::{
    api::{KubernetesApi, KubernetesError, KubernetesSettings, api_server_url},
    service_account::Pod,
    watch::{PodAgents, PodWatch},
};
pub(super) use self::{
    cluster::{Membership, OwnCluster},
    cluster_pods::{ClusterPods, PodState},
    review::{Reviewed, review},
    service_account::{is_service_account, pod_of},
};

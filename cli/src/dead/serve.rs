//! The dead letters of a running `sawpit up`, over a socket in its data folder.
//!
//! A socket, not a port: who may use the folder may use it, nobody else, and there is no address to choose. A queue in
//! Redis needs none of this, because it can be opened by several processes.

use std::path::Path;

use axum::extract::{Path as Segment, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use sawpit_model::MessageId;
use sawpit_queue::{DeadLetter, Queue, QueueError};
use serde::{Deserialize, Serialize};

/// The socket's name in the data folder.
pub const SOCKET: &str = "admin.sock";
/// Most letters in one answer.
const MOST: usize = 1_000;

/// What a replayed letter is called now.
#[derive(Serialize, Deserialize)]
pub struct Replayed {
    pub id: MessageId,
}

/// Why something was not done.
#[derive(Serialize, Deserialize)]
pub struct Refusal {
    pub error: String,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (StatusCode::NOT_FOUND, Json(self)).into_response()
    }
}

impl From<QueueError> for Refusal {
    fn from(error: QueueError) -> Self {
        Self { error: error.to_string() }
    }
}

#[derive(Deserialize)]
struct Page {
    after: Option<MessageId>,
    count: usize,
}

/// Serves until the process ends. That it cannot is only logged: the letters can be reached once it is stopped.
#[cfg(unix)]
pub async fn serve(queue: Queue, data: &Path) {
    let path = data.join(SOCKET);
    // The queue is ours alone, so whoever left a socket here is gone.
    let _ = std::fs::remove_file(&path);
    let bound = tokio::net::UnixListener::bind(&path).and_then(|listener| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map(|()| listener)
    });
    let served = match bound {
        Ok(listener) => axum::serve(listener, router(queue)).await,
        Err(error) => Err(error),
    };
    if let Err(error) = served {
        tracing::warn!(path = %path.display(), "`sawpit dead` cannot reach this process: {error}");
    }
}

/// There are no such sockets here.
#[cfg(not(unix))]
pub async fn serve(_: Queue, _: &Path) {}

fn router(queue: Queue) -> Router {
    Router::new()
        .route("/dead", get(list))
        .route("/dead/{id}", get(show).delete(purge))
        .route("/dead/{id}/replay", post(replay))
        .with_state(queue)
}

async fn list(
    State(queue): State<Queue>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<DeadLetter>>, Refusal> {
    Ok(Json(queue.dead_list(page.after, page.count.min(MOST)).await?))
}

async fn show(
    State(queue): State<Queue>,
    Segment(id): Segment<MessageId>,
) -> Result<Json<DeadLetter>, Refusal> {
    Ok(Json(queue.dead_show(id).await?))
}

async fn replay(
    State(queue): State<Queue>,
    Segment(id): Segment<MessageId>,
) -> Result<Json<Replayed>, Refusal> {
    Ok(Json(Replayed { id: queue.dead_replay(id).await? }))
}

async fn purge(State(queue): State<Queue>, Segment(id): Segment<MessageId>) -> Result<StatusCode, Refusal> {
    queue.dead_purge(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

//! The dead letters, wherever they are: in Redis, in the folder of a stopped `sawpit up`, or in that of a running one,
//! which alone may open its queue and is asked over the socket beside it.

use std::path::Path;

use anyhow::{Context, Result, bail};
use reqwest::{Client, Method, Response};
use sawpit_model::MessageId;
use sawpit_queue::{DeadLetter, Queue, QueueSettings};
use sawpit_service::Clock;
use sawpit_service::http::{self, Trust};
use serde::de::DeserializeOwned;

use super::serve::{Refusal, Replayed, SOCKET};

/// The way to the letters.
pub enum Letters {
    /// The queue itself.
    Open(Queue),
    /// The process that has it open.
    Served(Client),
}

impl Letters {
    /// The letters of `queue`, or of the folder of `sawpit up`, running or not. Looking never makes a queue.
    ///
    /// # Errors
    /// There is none, or it cannot be reached; the message says what to do.
    pub async fn find(queue: Option<String>, data: &Path) -> Result<Self> {
        let url = match queue {
            Some(url) => url,
            None => {
                if let Some(served) = served(&data.join(SOCKET)).await? {
                    return Ok(served);
                }
                data.join("queue").display().to_string()
            }
        };
        if !url.contains("://") && !Path::new(&url).join("queue.redb").is_file() {
            bail!("there is no queue in {url}: give --queue redis://… or --data, the folder of `sawpit up`");
        }
        // As many partitions as there are.
        let settings = QueueSettings { url, partitions: None, ..QueueSettings::default() };
        Ok(Self::Open(Queue::open(settings, Clock::system().reader()).await?))
    }

    /// Up to `count` after `after`, oldest first.
    pub async fn list(&self, after: Option<MessageId>, count: usize) -> Result<Vec<DeadLetter>> {
        match self {
            Self::Open(queue) => Ok(queue.dead_list(after, count).await?),
            Self::Served(client) => {
                let after = after.map_or_else(String::new, |id| format!("&after={id}"));
                ask(client, Method::GET, &format!("?count={count}{after}")).await
            }
        }
    }

    /// One of them.
    pub async fn show(&self, id: MessageId) -> Result<DeadLetter> {
        match self {
            Self::Open(queue) => Ok(queue.dead_show(id).await?),
            Self::Served(client) => ask(client, Method::GET, &format!("/{id}")).await,
        }
    }

    /// Puts one back into the queue; its new id.
    pub async fn replay(&self, id: MessageId) -> Result<MessageId> {
        match self {
            Self::Open(queue) => Ok(queue.dead_replay(id).await?),
            Self::Served(client) => {
                let Replayed { id } = ask(client, Method::POST, &format!("/{id}/replay")).await?;
                Ok(id)
            }
        }
    }

    /// Deletes one.
    pub async fn purge(&self, id: MessageId) -> Result<()> {
        match self {
            Self::Open(queue) => Ok(queue.dead_purge(id).await?),
            Self::Served(client) => call(client, Method::DELETE, &format!("/{id}")).await.map(drop),
        }
    }
}

/// None where no process answers: it ended, perhaps without taking its socket away.
async fn served(socket: &Path) -> Result<Option<Letters>> {
    if !socket.exists() {
        return Ok(None);
    }
    let client = http::client(&Trust::Nobody)?.unix_socket(socket).build().context("no HTTP client")?;
    match call(&client, Method::GET, "?count=0").await {
        Err(error) if error.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_connect) => {
            Ok(None)
        }
        Err(error) => Err(error),
        Ok(_) => Ok(Some(Letters::Served(client))),
    }
}

async fn call(client: &Client, method: Method, path: &str) -> Result<Response> {
    let answer = client.request(method, format!("http://sawpit/dead{path}")).send().await?;
    if answer.status().is_success() {
        return Ok(answer);
    }
    let status = answer.status();
    match answer.json::<Refusal>().await {
        Ok(refusal) => bail!(refusal.error),
        Err(_) => bail!("the running sawpit answered {status}"),
    }
}

async fn ask<T: DeserializeOwned>(client: &Client, method: Method, path: &str) -> Result<T> {
    call(client, method, path).await?.json().await.context("the running sawpit is of another version")
}

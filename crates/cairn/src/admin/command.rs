//! `cairn admin`: its options, and what it asks of the service.
//!
//! Exit codes: 0 done, 1 not done (said in words on standard error), 2 the command line is wrong.

use std::fmt;
use std::io::{self, BufRead, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Args, Subcommand};

use super::adopt::{self, AdoptOptions};
use super::api::{
    Access, Account, Bucket, CreatedKey, Credentials, Empty, Failure, FailureCode, Grant, Key, List, NewAccount, NewKey,
    NewTenant, Scope, Secret, StoreStatus, Tenant,
};
use super::audit::command::{self as audit, AuditOptions};
use super::client::endpoint::{Endpoint, Means, TOKEN_VARIABLE};
use super::client::{Client, ClientResult, encode};
use super::output::Output;
use super::{openapi, render, usage};

/// The longest secret that is read from standard input, bytes.
const SECRET_BYTES_MAX: u64 = 4096;

/// Whom to ask, and what.
#[derive(Debug, Clone, Args)]
pub struct AdminOptions {
    /// The data directory of the running service, where its administration socket is. Not looked at with --admin-endpoint.
    #[arg(long, env = "CAIRN_DATA", value_name = "DIR", default_value = "cairn-data", global = true)]
    pub data: PathBuf,
    /// A service on the network, such as https://cairn.example:9443 (its --admin-api-listen), in place of one on this machine.
    #[arg(long, env = "CAIRN_ADMIN_ENDPOINT", value_name = "URL", global = true)]
    pub admin_endpoint: Option<String>,
    /// The token for it; CAIRN_ADMIN_TOKEN gives it without a file.
    #[arg(long, env = "CAIRN_ADMIN_TOKEN_FILE", value_name = "FILE", global = true)]
    pub token_file: Option<PathBuf>,
    /// Whom to trust that it is the one, PEM; those that this machine trusts when not given.
    #[arg(long, env = "CAIRN_ADMIN_CA_CERT", value_name = "FILE", global = true)]
    pub ca_cert: Option<PathBuf>,
    /// The client certificate for it, PEM.
    #[arg(long, env = "CAIRN_ADMIN_CLIENT_CERT", value_name = "FILE", global = true)]
    pub client_cert: Option<PathBuf>,
    /// The client certificate's private key, PEM.
    #[arg(long, env = "CAIRN_ADMIN_CLIENT_KEY", value_name = "FILE", global = true)]
    pub client_key: Option<PathBuf>,
    /// How results are printed: for people, or for programs.
    #[arg(long, value_enum, value_name = "FORM", default_value = "text", global = true)]
    pub output: Output,
    /// The same as --output json.
    #[arg(long, global = true, conflicts_with = "output")]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: AdminCommand,
}

/// What can be administered.
#[derive(Debug, Clone, Subcommand)]
pub enum AdminCommand {
    /// The three zones.
    #[command(subcommand)]
    Zone(ZoneCommand),
    /// Access keys: what opens buckets.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Tenants: scopes of bucket names, which know nothing of each other.
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Accounts: owners of buckets and keys.
    #[command(subcommand)]
    Account(AccountCommand),
    /// Buckets, and what they hold. (They are made and removed over S3.)
    #[command(subcommand)]
    Bucket(BucketCommand),
    /// What tenants and buckets take: objects, other versions, uploads that are not completed.
    Usage {
        /// Of this tenant only.
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Look at every object, and read every copy of every chunk in every zone. Changes nothing; exit code 0: everything is whole.
    Audit(AuditOptions),
    /// Print the API's description, an OpenAPI document. No service is asked.
    Openapi,
}

/// About zones.
#[derive(Debug, Clone, Subcommand)]
pub enum ZoneCommand {
    /// Show what each zone is doing, and how repair is going.
    Status,
    /// Let a zone in again whose directory was a mount point and is none any more, for good. The service must not run. Says what would be done;
    /// does it with --confirm.
    AdoptDirectory(AdoptOptions),
}

/// About tenants.
#[derive(Debug, Clone, Subcommand)]
pub enum TenantCommand {
    /// Make a tenant.
    Create {
        /// Its name: a-z, 0-9, '-' and '.'.
        name: String,
        /// The identity behind the name, such as a namespace's UID.
        #[arg(long)]
        uid: Option<String>,
    },
    /// Show the tenants.
    List,
    /// Remove a tenant that has no buckets and no accounts.
    Delete {
        /// Its name.
        name: String,
    },
}

/// About accounts.
#[derive(Debug, Clone, Subcommand)]
pub enum AccountCommand {
    /// Make an account.
    Create {
        /// Its name.
        name: String,
        /// Its tenant; the default one if not given.
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Show the accounts.
    List {
        /// Of this tenant only.
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Remove an account that has no buckets and no keys.
    Delete {
        /// Its id, as `account list` shows it.
        id: String,
    },
}

/// About buckets.
#[derive(Debug, Clone, Subcommand)]
pub enum BucketCommand {
    /// Show a tenant's buckets.
    List {
        /// The tenant; the default one if not given.
        #[arg(long)]
        tenant: Option<String>,
    },
}

/// About access keys.
#[derive(Debug, Clone, Subcommand)]
pub enum KeyCommand {
    /// Make a key, and print both halves: this once, they cannot be had again.
    #[command(group = ArgGroup::new("opens").required(true).args(["buckets", "whole_tenant", "root"]))]
    Create {
        #[command(flatten)]
        rights: Rights,
        /// A root key: it opens everything in the default tenant.
        #[arg(long, conflicts_with_all = ["readonly", "tenant", "whole_tenant", "buckets"])]
        root: bool,
    },
    /// Take a key that exists elsewhere, so that its users need not change anything. Without --bucket it opens every bucket of its tenant.
    Import {
        #[command(flatten)]
        rights: Rights,
        /// The public half.
        #[arg(long, env = "CAIRN_ACCESS_KEY_ID", value_name = "ID")]
        access_key_id: String,
        /// The secret half; "-" reads it from standard input. Other users see command lines: better give it so, or by the variable.
        #[arg(long, env = "CAIRN_SECRET_ACCESS_KEY", hide_env_values = true, value_name = "SECRET")]
        secret_access_key: HiddenText,
    },
    /// Show the keys, and what each opens. Secrets are never shown.
    List {
        /// Of this tenant only.
        #[arg(long)]
        tenant: Option<String>,
        /// Of this account only (id or name), in --tenant or the default one.
        #[arg(long)]
        account: Option<String>,
        /// Those that were given this bucket, in --tenant or the default one.
        #[arg(long)]
        bucket: Option<String>,
    },
    /// Revoke a key: within a second it opens nothing.
    Revoke {
        /// Its public half.
        #[arg(value_name = "ID")]
        access_key_id: String,
    },
}

/// What a key is to open, and who it acts for.
#[derive(Debug, Clone, Args)]
pub struct Rights {
    /// A bucket that it opens, and nothing else; may be given more than once.
    #[arg(long = "bucket", value_name = "BUCKET")]
    pub buckets: Vec<String>,
    /// It opens every bucket of its tenant, those to come included, and may make and remove buckets.
    #[arg(long, conflicts_with = "buckets")]
    pub whole_tenant: bool,
    /// It reads and lists, and can change nothing.
    #[arg(long)]
    pub readonly: bool,
    /// The tenant in which it finds buckets; the default one if not given.
    #[arg(long)]
    pub tenant: Option<String>,
    /// Who it acts for (id or name). If not given: the owner of the first bucket, else the tenant's account "root".
    #[arg(long)]
    pub account: Option<String>,
    /// A note for people, shown in the list.
    #[arg(long)]
    pub description: Option<String>,
}

/// A text from the command line that is not shown.
#[derive(Clone)]
pub struct HiddenText(String);

impl std::str::FromStr for HiddenText {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for HiddenText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("HiddenText(…)")
    }
}

impl HiddenText {
    /// The text, or what standard input begins with.
    fn read(self, input: impl Read) -> ClientResult<Secret> {
        if self.0 != "-" {
            return Ok(Secret(self.0));
        }
        let invalid = |message: &str| Failure { code: FailureCode::Invalid, message: message.to_owned() };
        let mut line = String::new();
        let read = io::BufReader::new(input.take(SECRET_BYTES_MAX)).read_line(&mut line);
        read.map_err(|error| invalid(&format!("the secret could not be read from standard input: {error}")))?;
        let secret = line.trim_end_matches(['\r', '\n']);
        if secret.is_empty() {
            return Err(invalid("there is no secret on standard input"));
        }
        Ok(Secret(secret.to_owned()))
    }
}

impl Rights {
    fn key(self, root: bool, credentials: Option<Credentials>) -> NewKey {
        let Self { buckets, whole_tenant: _, readonly, tenant, account, description } = self;
        let access = |full| if readonly { Access::Read } else { full };
        let grants = if root {
            vec![Grant { scope: Scope::Store, bucket: None, access: Access::Administer }]
        } else if buckets.is_empty() {
            vec![Grant { scope: Scope::Tenant, bucket: None, access: access(Access::Administer) }]
        } else {
            let grant = |name| Grant { scope: Scope::Bucket, bucket: Some(name), access: access(Access::Write) };
            buckets.into_iter().map(grant).collect()
        };
        NewKey { grants, tenant, account, description, credentials }
    }
}

/// Runs a command.
pub fn run(mut options: AdminOptions) -> ExitCode {
    if options.json {
        options.output = Output::Json;
    }
    let output = options.output;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(dispatch(options)),
        Err(error) => Err(Failure { code: FailureCode::Internal, message: error.to_string() }),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output.failure(&failure),
    }
}

/// Whom to ask. Whoever names another machine never changes this one.
fn client(options: &AdminOptions) -> ClientResult<Client> {
    let AdminOptions { admin_endpoint, token_file, ca_cert, client_cert, client_key, .. } = options;
    let invalid = |message: &str| Failure { code: FailureCode::Invalid, message: message.to_owned() };
    let certificate = match (client_cert.clone(), client_key.clone()) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => return Err(invalid("Give both --client-cert and --client-key, or neither. Nothing was asked of anyone.")),
    };
    let means = Means { token_file: token_file.clone(), authority: ca_cert.clone(), certificate };
    match admin_endpoint {
        Some(url) => Ok(Client::of_endpoint(Endpoint::new(url, &means, std::env::var(TOKEN_VARIABLE).ok())?)),
        None if means.token_file.is_some() || means.authority.is_some() || means.certificate.is_some() => Err(invalid(
            "--token-file, --ca-cert and --client-cert are for a service on the network: give --admin-endpoint URL as well. Nothing was asked of anyone.",
        )),
        None => Ok(Client::of_data(&options.data)),
    }
}

async fn dispatch(options: AdminOptions) -> ClientResult<()> {
    if matches!(options.command, AdminCommand::Openapi) {
        return options.output.result(&openapi::document(), openapi::text);
    }
    let client = client(&options)?;
    let AdminOptions { output, command, data, admin_endpoint, .. } = options;
    match command {
        AdminCommand::Zone(ZoneCommand::Status) => {
            let status: StoreStatus = client.get("/v1/zones").await?;
            output.result(&status, || render::store_status(&status))
        }
        // Whoever names another machine never changes this one.
        AdminCommand::Zone(ZoneCommand::AdoptDirectory(_)) if admin_endpoint.is_some() => Err(Failure {
            code: FailureCode::Invalid,
            message: "A zone's directory is adopted on its own machine, while nothing serves: leave out --admin-endpoint. Nothing was changed."
                .to_owned(),
        }),
        AdminCommand::Zone(ZoneCommand::AdoptDirectory(options)) => adopt::run(&data, options, output).await,
        AdminCommand::Tenant(command) => tenant(&client, output, command).await,
        AdminCommand::Account(command) => account(&client, output, command).await,
        AdminCommand::Bucket(BucketCommand::List { tenant }) => {
            let items: Vec<Bucket> = client.list(&format!("/v1/buckets?{}", filters(&[("tenant", tenant)]))).await?;
            output.result(&List { items: items.clone(), next: None }, || render::buckets(&items))
        }
        AdminCommand::Key(command) => key(&client, output, command).await,
        AdminCommand::Usage { tenant } => {
            let report = usage::ask(&client, tenant).await?;
            output.result(&report, || usage::text(&report))
        }
        AdminCommand::Audit(options) => audit::run(&client, output, options).await,
        AdminCommand::Openapi => Ok(()),
    }
}

async fn tenant(client: &Client, output: Output, command: TenantCommand) -> ClientResult<()> {
    match command {
        TenantCommand::Create { name, uid } => {
            let made: Tenant = client.post("/v1/tenants", &NewTenant { name, uid }).await?;
            output.result(&made, || format!("Made the tenant {}.\n", made.name))
        }
        TenantCommand::List => {
            let items: Vec<Tenant> = client.list("/v1/tenants?").await?;
            output.result(&List { items: items.clone(), next: None }, || render::tenants(&items))
        }
        TenantCommand::Delete { name } => {
            let done: Empty = client.delete(&format!("/v1/tenants/{}", encode(&name))).await?;
            output.result(&done, || format!("Removed the tenant {name}.\n"))
        }
    }
}

async fn account(client: &Client, output: Output, command: AccountCommand) -> ClientResult<()> {
    match command {
        AccountCommand::Create { name, tenant } => {
            let made: Account = client.post("/v1/accounts", &NewAccount { name, tenant }).await?;
            output.result(&made, || {
                format!("Made the account {} in the tenant {}. Its id is\n{}\n", made.name, made.tenant, made.id)
            })
        }
        AccountCommand::List { tenant } => {
            let items: Vec<Account> = client.list(&format!("/v1/accounts?{}", filters(&[("tenant", tenant)]))).await?;
            output.result(&List { items: items.clone(), next: None }, || render::accounts(&items))
        }
        AccountCommand::Delete { id } => {
            let done: Empty = client.delete(&format!("/v1/accounts/{}", encode(&id))).await?;
            output.result(&done, || format!("Removed the account {id}.\n"))
        }
    }
}

async fn key(client: &Client, output: Output, command: KeyCommand) -> ClientResult<()> {
    match command {
        KeyCommand::Create { rights, root } => {
            let made: CreatedKey = client.post("/v1/keys", &rights.key(root, None)).await?;
            output.remark(&format!("{} The secret is shown this once:", render::key_sentence(&made.key)));
            output.result(&made, || render::credentials(&made))
        }
        KeyCommand::Import { rights, access_key_id, secret_access_key } => {
            let secret_access_key = secret_access_key.read(io::stdin())?;
            let credentials = Credentials { access_key_id, secret_access_key };
            let made: CreatedKey = client.post("/v1/keys", &rights.key(false, Some(credentials))).await?;
            output.result(&made, || format!("Imported. {}\n", render::key_sentence(&made.key)))
        }
        KeyCommand::List { tenant, account, bucket } => {
            let filters = filters(&[("tenant", tenant), ("account", account), ("bucket", bucket)]);
            let items: Vec<Key> = client.list(&format!("/v1/keys?{filters}")).await?;
            output.result(&List { items: items.clone(), next: None }, || render::keys(&items))
        }
        KeyCommand::Revoke { access_key_id } => {
            let done: Empty = client.delete(&format!("/v1/keys/{}", encode(&access_key_id))).await?;
            output.result(&done, || format!("Revoked {access_key_id}: it opens nothing any more.\n"))
        }
    }
}

/// A query of those parameters that have a value.
fn filters(parameters: &[(&str, Option<String>)]) -> String {
    let given = parameters.iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
    given.map(|(name, value)| format!("{name}={}", encode(value))).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests;

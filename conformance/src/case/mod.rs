//! Cases: what a file says, read and judged, ready to be run.

mod callouts;
mod file;
mod guest;
mod script;
mod values;
mod views;
mod yaml;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chassis_abi::{Configuration, Direction, HeaderList, Identity};
use chassis_engine_api::compile::CompilePolicy;
use chassis_host::{FailPolicy, PluginLimits, PluginSpec};

use callouts::Others;
pub use file::{CaseFile, Need};
pub(crate) use guest::Module;
pub use values::unescape;
pub(crate) use views::{NONE, SOMETHING, View, What, text_lines};
pub use yaml::Mistake;
pub(crate) use yaml::read;

use crate::drive::{Ask, Beside, Cut, Message, Origin, Plan, Scripted, Settings, Sharing, TcpEvent};
use file::{Event, ForeignFunction, Request, Response};
use values::{Content, Fields, Reached, Size};

/// A case, ready to be run.
#[derive(Debug)]
pub struct Case {
    /// The folder that it is in.
    pub area: String,
    /// Its file's name without the ending.
    pub name: String,
    /// What must hold.
    pub about: String,
    /// What the engine must be able to do.
    pub needs: Vec<Need>,
    pub(crate) module: Module,
    /// That of the plugin beside, if there is one.
    second: Option<Module>,
    /// Whether it is part of this library, and so is its guest.
    embedded: bool,
    pub(crate) asks: Vec<Ask>,
    pub(crate) upstream: Others,
    /// What must be seen, of each request.
    pub(crate) views: Vec<Vec<View>>,
    spec: PluginSpec,
    plan: Plan,
}

impl Case {
    /// Reads a case. `beside` gives the text of a file in its folder.
    ///
    /// # Errors
    /// [`Mistake`] of whoever wrote it.
    pub fn parse(
        area: &str,
        name: &str,
        source: &str,
        beside: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Mistake> {
        let file: CaseFile = yaml::read(source)?;
        if contents(&file).map(Content::len).fold(0, u64::saturating_add) > MOST {
            let message = format!("its bodies and configurations have more than {MOST} bytes");
            return Err(Mistake { line: 0, column: 0, message });
        }
        let module = guest::module(&file.guest, source, beside)?;
        let (second, beside) = match &file.beside {
            Some(second) => {
                let module = guest::module(&second.guest, source, beside)?;
                let identity = identity("beside", &second.vm_id);
                let spec = PluginSpec { identity, ..spec(&file, format!("{area}/{name}: beside")) };
                let configuration = Bytes::from(second.config.bytes());
                (Some(module), Some(Box::new(Beside { spec, module: None, configuration })))
            }
            None => (None, None),
        };
        let shown = match &module {
            Module::Plugin(plugin) => format!("plugins/{plugin}"),
            Module::Binary(_) => format!("{area}/{name}"),
        };
        let asks = asks(&file)?;
        let views = views::of(&file)?;
        let spec = spec(&file, shown);
        let properties: HashMap<Vec<u8>, Bytes> = file
            .properties
            .iter()
            .map(|(path, value)| (path.clone().into_bytes(), Bytes::from(value.bytes())))
            .collect();
        let plan = Plan {
            spec: spec.clone(),
            module: None,
            policy: CompilePolicy::InProcess,
            origin: Origin::fixed(),
            configuration: Bytes::from(file.config.bytes()),
            contexts: file.contexts.iter().map(context).collect(),
            properties: Arc::new(properties),
            level: file.log_level.into(),
            settings: Settings { ticks: file.ticks, pause_limit: spec.limits.pause },
            sharing: Sharing {
                data: file.shared_data.iter().map(|(key, value)| (key.clone().into(), value.bytes().into())).collect(),
                functions: file.foreign_functions.iter().map(|(name, does)| (name.clone(), does.into())).collect(),
                beside,
            },
        };
        let upstream = Others::new(Scripted(response(&file.upstream)?), &file.callouts)?;
        let (area, name) = (area.to_owned(), name.to_owned());
        let (about, needs) = (file.about, file.needs);
        Ok(Case { area, name, about, needs, module, second, embedded: false, asks, upstream, views, spec, plan })
    }

    /// `area/name`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.area, self.name)
    }

    /// Its file, below the folder of cases.
    pub fn file(&self) -> String {
        format!("{}/{}.yaml", self.area, self.name)
    }

    /// Whether it is part of this library, and so is its guest.
    pub(crate) fn embedded(self, embedded: bool) -> Self {
        Case { embedded, ..self }
    }

    /// How it is run. Modules of plugins come from below this folder; they, and guests of cases that are not part of this
    /// library, are compiled where the policy says.
    pub(crate) fn plan(&self, plugins: &Path, policy: &CompilePolicy) -> Plan {
        let mut plan = Plan { policy: policy.clone(), ..self.plan.clone() };
        match &self.module {
            Module::Binary(module) => {
                plan.module = Some(module.clone());
                if self.embedded {
                    plan.policy = CompilePolicy::InProcess;
                }
            }
            Module::Plugin(plugin) => plan.spec.file = plugin_file(plugins, plugin),
        }
        if let (Some(module), Some(beside)) = (&self.second, &mut plan.sharing.beside) {
            match module {
                Module::Binary(module) => beside.module = Some(module.clone()),
                Module::Plugin(plugin) => beside.spec.file = plugin_file(plugins, plugin),
            }
        }
        plan
    }

    /// What the plugin is called.
    pub(crate) fn plugin(&self) -> String {
        self.spec.file.display().to_string()
    }
}

/// The most bytes that the bodies and configurations of a case may have together.
const MOST: u64 = 64 << 20;

/// Everything in a case that may be a repeated text.
fn contents(file: &CaseFile) -> impl Iterator<Item = &Content> {
    let requests = file.request.iter().chain(file.then.iter().filter_map(|then| then.request.as_ref()));
    let streams = file.tcp.iter().chain(file.then.iter().filter_map(|then| then.tcp.as_ref()));
    let expected = std::iter::once(&file.expect).chain(file.then.iter().map(|then| &then.expect));
    let seen = expected.flat_map(|expect| {
        let upstream = expect.upstream.as_ref().and_then(|seen| match &seen.value {
            Reached::This(request) => request.body.as_ref(),
            Reached::Nothing => None,
        });
        let client = expect.client.as_ref().and_then(|seen| match &seen.value {
            Reached::This(response) => response.body.as_ref(),
            Reached::Nothing => None,
        });
        upstream.into_iter().chain(client)
    });
    [&file.config, &file.vm_config]
        .into_iter()
        .chain(file.contexts.iter().map(|context| &context.config))
        .chain(file.properties.values())
        .chain(file.shared_data.values())
        .chain(file.beside.iter().map(|beside| &beside.config))
        .chain(file.foreign_functions.values().filter_map(|function| match function {
            ForeignFunction::Answers(answer) => Some(answer),
            _ => None,
        }))
        .chain(requests.filter_map(|request| request.body.as_ref()))
        .chain(streams.flatten().filter_map(Event::data))
        .chain(&file.upstream.body)
        .chain(file.callouts.values().flatten().filter_map(|answer| answer.body.as_ref()))
        .chain(
            file.callouts.values().flatten().filter_map(|answer| answer.grpc.as_ref()).flat_map(|grpc| &grpc.messages),
        )
        .chain(seen)
}

/// The file of a plugin: the binary module, else the one in the text format.
pub(crate) fn plugin_file(plugins: &Path, plugin: &str) -> PathBuf {
    let binary = plugins.join(format!("{plugin}.wasm"));
    if binary.exists() { binary } else { plugins.join(format!("{plugin}.wat")) }
}

fn identity(name: &str, vm_id: &str) -> Identity {
    Identity { name: name.to_owned(), vm_id: vm_id.to_owned(), ..Identity::default() }
}

fn context(context: &file::PluginContext) -> Configuration {
    Configuration { root_id: context.root_id.clone(), data: Bytes::from(context.config.bytes()) }
}

fn spec(file: &CaseFile, shown: String) -> PluginSpec {
    let defaults = PluginLimits::default();
    let limits = &file.limits;
    let bytes = |size: Option<Size>, default: u64| size.map_or(default, |size| size.0);
    PluginSpec {
        identity: Identity {
            root_id: file.root_id.clone(),
            dialect: file.dialect.into(),
            vm_configuration: Bytes::from(file.vm_config.bytes()),
            environment: file.environment.clone().into_iter().collect(),
            ..identity("plugin", &file.vm_id)
        },
        file: shown.into(),
        limits: PluginLimits {
            deadline: limits.deadline.map_or(Duration::from_secs(10), |time| time.0),
            start_deadline: limits.start_deadline.map_or(Duration::from_secs(30), |time| time.0),
            pause: limits.pause.map_or(Duration::from_secs(5), |time| time.0),
            memory_bytes: bytes(limits.memory, defaults.memory_bytes),
            table_elements: limits.table_elements.unwrap_or(defaults.table_elements),
            buffered_body: usize::try_from(bytes(limits.buffered_body, defaults.buffered_body as u64))
                .unwrap_or(usize::MAX),
            callouts: callouts::rules(file),
            shared_data: limits.shared_data.map_or(defaults.shared_data, Size::bytes),
            queues: limits.queues.map_or(defaults.queues, Size::bytes),
            metrics: limits.metrics.unwrap_or(defaults.metrics),
            ..defaults
        },
        fail_policy: FailPolicy::Closed,
    }
}

/// All requests, in order.
fn asks(file: &CaseFile) -> Result<Vec<Ask>, Mistake> {
    let response_cut = cut(file.upstream.piece, file.upstream.late_end);
    let response_metadata: Arc<[u32]> = file.upstream.metadata.clone().into();
    let ask = |request: Option<&Request>, tcp: Option<&Vec<Event>>| -> Result<Option<Ask>, Mistake> {
        let ask = match (request, tcp) {
            (Some(_), Some(_)) => {
                let message = "there is either a `request` or `tcp`".to_owned();
                return Err(Mistake { line: 0, column: 0, message });
            }
            (None, Some(events)) => Ask { tcp: Some(events.iter().map(event).collect()), ..Ask::default() },
            (Some(request), None) => Ask {
                tcp: None,
                request: message(request)?,
                request_metadata: request.metadata.clone().into(),
                response_metadata: response_metadata.clone(),
                request_cut: cut(request.piece, request.late_end),
                response_cut,
            },
            (None, None) => return Ok(None),
        };
        Ok(Some(ask))
    };
    let mut asks = match ask(file.request.as_ref(), file.tcp.as_ref())? {
        Some(first) => vec![first],
        None => ask(Some(&Request::default()), None)?.into_iter().collect(),
    };
    for then in &file.then {
        // Bodies are shared.
        let next = ask(then.request.as_ref(), then.tcp.as_ref())?.unwrap_or_else(|| asks[0].clone());
        asks.push(next);
    }
    Ok(asks)
}

fn event(event: &Event) -> TcpEvent {
    let data = event.data().map(|data| Bytes::from(data.bytes())).unwrap_or_default();
    let comes = |direction, end| TcpEvent::Data { direction, data: data.clone(), end };
    match event {
        Event::Downstream(_) => comes(Direction::Request, false),
        Event::DownstreamEnd(_) => comes(Direction::Request, true),
        Event::Upstream(_) => comes(Direction::Response, false),
        Event::UpstreamEnd(_) => comes(Direction::Response, true),
        Event::DownstreamClose(peer) => TcpEvent::Closed { from: Direction::Request, peer: (*peer).into() },
        Event::UpstreamClose(peer) => TcpEvent::Closed { from: Direction::Response, peer: (*peer).into() },
        Event::Tick => TcpEvent::Tick,
    }
}

fn cut(piece: Option<Size>, late_end: bool) -> Cut {
    let piece = piece.map_or(usize::MAX, |size| usize::try_from(size.0).unwrap_or(usize::MAX));
    Cut { piece, late_end }
}

fn message(request: &Request) -> Result<Message, Mistake> {
    let pseudo = [
        (":authority", "localhost".to_owned()),
        (":path", request.path.clone()),
        (":method", request.method.clone()),
        (":scheme", "http".to_owned()),
    ];
    filled(pseudo.into_iter().collect(), "request", &request.headers, request.body.as_ref(), request.trailers.as_ref())
}

fn response(response: &Response) -> Result<Message, Mistake> {
    let pseudo = [(":status", response.status.to_string())];
    let (body, trailers) = (response.body.as_ref(), response.trailers.as_ref());
    filled(pseudo.into_iter().collect(), "upstream", &response.headers, body, trailers)
}

fn filled(
    mut headers: HeaderList,
    what: &str,
    fields: &Fields,
    body: Option<&Content>,
    trailers: Option<&Fields>,
) -> Result<Message, Mistake> {
    add(&mut headers, fields, what)?;
    let trailers = match trailers {
        Some(fields) => {
            let mut trailers = HeaderList::default();
            add(&mut trailers, fields, what)?;
            Some(trailers)
        }
        None => None,
    };
    Ok(Message { headers, body: body.map(|body| Bytes::from(body.bytes())), trailers })
}

/// Adds what a client or server may send: nothing that the host would not take from a guest.
fn add(list: &mut HeaderList, fields: &Fields, what: &str) -> Result<(), Mistake> {
    for field in &fields.0 {
        list.add(&field.name, &field.value).map_err(|error| {
            let name = chassis_host::escape(&field.name).into_owned();
            Mistake { line: 0, column: 0, message: format!("{what}: `{name}`: {error}") }
        })?;
    }
    Ok(())
}

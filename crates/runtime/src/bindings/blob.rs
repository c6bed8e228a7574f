//! `internalBinding('blob')`. Source: `src/node_blob.cc`, `src/dataqueue/queue.cc`.
//!
//! A blob is a list of ranges of memory that no JavaScript can reach: the buffers that it is made of are detached, or
//! copied where they cannot be. A blob of a file reads it when it is read, and fails when the file has changed.

use std::any::Any;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use secure_exec_kernel::{Errno, TimeSpec};

use crate::array_buffer::{Contents, array_buffer_of, new_array_buffer};
use crate::binding::{Args, Binding, Class, Ret, function};
use crate::bindings::messaging::memory_budget;
use crate::env::Env;
use crate::message::{Charge, HostType, TransferData};
use crate::text;
use crate::throw::Throw;

/// See the module's text.
pub static BINDING: Binding = Binding {
    name: "blob",
    functions: &[
        ("concat", function!(concat)),
        ("createBlob", function!(create_blob)),
        (
            "createBlobFromFilePath",
            function!(create_blob_from_file_path),
        ),
        ("getDataObject", function!(get_data_object)),
        ("revokeObjectURL", function!(revoke_object_url)),
        ("storeDataObject", function!(store_data_object)),
    ],
    classes: &[
        Class {
            name: "Blob",
            hidden: true,
            methods: &[
                ("getReader", function!(get_reader)),
                ("slice", function!(slice)),
            ],
            ..Class::DEFAULT
        },
        Class {
            name: "BlobReader",
            hidden: true,
            methods: &[("pull", function!(pull))],
            ..Class::DEFAULT
        },
    ],
    init: Some(init),
    ..Binding::DEFAULT
};

/// Key of the registry for the map of object URLs.
const STORE: &str = "blob.store";

/// The data of a blob. Cheap to clone; its memory may be read from any thread.
#[derive(Clone)]
pub struct Blob {
    parts: Arc<Parts>,
}

struct Parts {
    list: Vec<Part>,
    /// What a long list takes of the guest's memory.
    _charge: Option<Charge>,
}

/// A range of a blob's source.
#[derive(Clone)]
struct Part {
    source: Source,
    start: usize,
    length: usize,
}

#[derive(Clone)]
enum Source {
    Memory(Memory),
    File(Arc<File>),
}

/// Memory that nothing writes any more.
#[derive(Clone)]
struct Memory(v8::SharedRef<v8::BackingStore>);

// SAFETY: the C++ shared pointer counts atomically, and the memory is only read: no JavaScript can reach it.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

/// A file as it was when its blob was made.
struct File {
    path: Vec<u8>,
    size: u64,
    modified: TimeSpec,
}

impl Part {
    fn memory(store: v8::SharedRef<v8::BackingStore>, start: usize, length: usize) -> Self {
        Self {
            source: Source::Memory(Memory(store)),
            start,
            length,
        }
    }
}

impl Memory {
    fn copy<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
        start: usize,
        length: usize,
    ) -> Result<v8::Local<'s, v8::ArrayBuffer>, Throw> {
        let buffer = new_array_buffer(scope, length)?;
        let fits = start
            .checked_add(length)
            .is_some_and(|end| end <= self.0.byte_length());
        if let (Some(source), Some(target), true) = (self.0.data(), buffer.data(), fits) {
            // SAFETY: the range lies in the held store, the new buffer is as long and known to nobody else.
            unsafe {
                let source = source.as_ptr().cast::<u8>().add(start);
                std::ptr::copy_nonoverlapping(source, target.as_ptr().cast(), length);
            }
        }
        Ok(buffer)
    }
}

impl File {
    const READ_ONLY: i32 = 0;

    /// The bytes at `start`; an error when the file is not what it was.
    fn read(&self, env: &Env, start: usize, length: usize) -> Result<Vec<u8>, Errno> {
        let (Ok(kernel), Ok(process)) = (env.kernel(), env.process()) else {
            return Err(Errno::EBADF);
        };
        let fd = kernel.open(&process, &self.path, Self::READ_ONLY, 0)?;
        let read = kernel.fstat(&process, fd).and_then(|stat| {
            if stat.size != self.size || stat.mtime != self.modified {
                return Err(Errno::EINVAL);
            }
            let mut bytes = vec![0; length];
            let mut filled = 0;
            while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                let count = kernel.read(&process, fd, rest, u64::try_from(start + filled).ok())?;
                if count == 0 {
                    return Err(Errno::EINVAL);
                }
                filled += count;
            }
            Ok(bytes)
        });
        let closed = kernel.close(&process, fd);
        read.and_then(|bytes| closed.map(|()| bytes))
    }
}

impl Blob {
    /// Lists up to this length are not accounted for.
    const SHORT: usize = 64;

    /// A blob of `list`; an error when the list is more than the guest may hold.
    fn new(scope: &mut v8::PinScope<'_, '_>, list: Vec<Part>) -> Result<Self, Throw> {
        let bytes = list.capacity().saturating_mul(size_of::<Part>());
        let charge = if list.len() > Self::SHORT {
            Some(Self::charge(scope, bytes)?)
        } else {
            None
        };
        Ok(Self {
            parts: Arc::new(Parts {
                list,
                _charge: charge,
            }),
        })
    }

    fn charge(scope: &mut v8::PinScope<'_, '_>, bytes: usize) -> Result<Charge, Throw> {
        memory_budget(&Env::of(scope))
            .charge(scope, bytes)
            .ok_or_else(crate::array_buffer::allocation_failed)
    }

    /// The bytes between `start` and `end`, without a copy.
    fn slice(&self, start: usize, end: usize) -> Vec<Part> {
        let mut list = Vec::new();
        let mut at = 0_usize;
        for part in &self.parts.list {
            let next = at.saturating_add(part.length);
            let (from, to) = (start.max(at), end.min(next));
            if from < to {
                let start = part.start.saturating_add(from - at);
                let source = part.source.clone();
                list.push(Part {
                    source,
                    start,
                    length: to - from,
                });
            }
            at = next;
        }
        list
    }

    /// The blob behind a handle.
    pub fn of<'s>(
        scope: &mut v8::PinScope<'s, '_>,
        handle: v8::Local<'s, v8::Value>,
    ) -> Option<Rc<Self>> {
        let handle = v8::Local::<v8::Object>::try_from(handle).ok()?;
        Env::of(scope).objects.unwrap(scope, handle)
    }

    /// A new handle for this blob, as the library keeps it.
    pub fn into_handle<'s>(self, scope: &mut v8::PinScope<'s, '_>) -> Ret<'s> {
        let env = Env::of(scope);
        let handle = env.new_instance(scope, "blob.Blob")?;
        let parts = self.parts.list.capacity() * size_of::<Part>();
        env.objects
            .wrap_with(scope, handle, Rc::new(self), parts + size_of::<Parts>());
        Ok(handle.into())
    }
}

/// How blobs travel; one of a file does not.
pub static HOST_TYPE: HostType = HostType {
    clone_object: |host: &Rc<dyn Any>| {
        let blob = host.downcast_ref::<Blob>()?;
        let stays = blob
            .parts
            .list
            .iter()
            .any(|part| matches!(part.source, Source::File(_)));
        (!stays).then(|| Box::new(blob.clone()) as Box<dyn TransferData>)
    },
};

impl TransferData for Blob {
    fn is_of_main_context(&self) -> bool {
        true
    }

    fn deserialize<'s>(
        self: Box<Self>,
        scope: &mut v8::PinScope<'s, '_>,
        _env: &Rc<Env>,
    ) -> Option<v8::Local<'s, v8::Object>> {
        match self.into_handle(scope) {
            Ok(handle) => v8::Local::try_from(handle).ok(),
            Err(throw) => {
                throw.throw(scope);
                None
            }
        }
    }
}

/// A position in a blob. A pull takes a whole part of memory, or a chunk of a file.
struct Reader {
    blob: Rc<Blob>,
    next: Cell<usize>,
    /// How much of the next part was read already.
    offset: Cell<usize>,
    ended: Cell<bool>,
}

fn init(scope: &mut v8::PinScope<'_, '_>, env: &Env, _target: v8::Local<v8::Object>) {
    let store = v8::Map::new(scope);
    env.register(scope, STORE, store.into());
}

fn store<'s>(scope: &mut v8::PinScope<'s, '_>) -> Result<v8::Local<'s, v8::Map>, Throw> {
    let store = Env::of(scope)
        .registered(scope, STORE)
        .ok_or(Throw::Pending)?;
    v8::Local::try_from(store).map_err(|_| Throw::Pending)
}

fn invalid(name: &str) -> Throw {
    Throw::type_error(
        "ERR_INVALID_ARG_TYPE",
        format!("The \"{name}\" argument is not valid"),
    )
}

/// The values of an array, read once.
fn elements<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    value: v8::Local<'s, v8::Value>,
) -> Result<Vec<v8::Local<'s, v8::Value>>, Throw> {
    let array = v8::Local::<v8::Array>::try_from(value).map_err(|_| invalid("sources"))?;
    let mut values = Vec::new();
    let mut index = 0;
    while index < array.length() {
        values.push(array.get_index(scope, index).ok_or(Throw::Pending)?);
        index += 1;
    }
    Ok(values)
}

/// `createBlob(sources, length)`
fn create_blob<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let mut list = Vec::new();
    let mut room = Blob::SHORT;
    let mut charge = None;
    for source in elements(scope, args.get(0))? {
        if let Ok(view) = v8::Local::<v8::ArrayBufferView>::try_from(source) {
            list.extend(take(scope, view)?);
            continue;
        }
        let blob = Blob::of(scope, source).ok_or_else(|| invalid("sources"))?;
        let length = list.len().saturating_add(blob.parts.list.len());
        if length > room {
            // Blobs of blobs multiply: the list must not outgrow the guest's memory while it is made.
            room = length.saturating_mul(2);
            drop(charge.take());
            charge = Some(Blob::charge(scope, room.saturating_mul(size_of::<Part>()))?);
        }
        list.extend(blob.parts.list.iter().cloned());
    }
    drop(charge);
    Blob::new(scope, list)?.into_handle(scope)
}

/// Takes a view's memory away from JavaScript.
fn take<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    view: v8::Local<'s, v8::ArrayBufferView>,
) -> Result<Option<Part>, Throw> {
    let buffer = view.buffer(scope).ok_or_else(|| invalid("sources"))?;
    let (start, length) = (view.byte_offset(), view.byte_length());
    if length == 0 {
        return Ok(None);
    }
    let shared = v8::Local::<v8::Value>::from(buffer).is_shared_array_buffer();
    if !shared && buffer.is_detachable() {
        let store = buffer.get_backing_store();
        if buffer.detach(None) == Some(true) && buffer.was_detached() {
            return Ok(Some(Part::memory(store, start, length)));
        }
    }
    let mut contents = Contents::default();
    let copy = array_buffer_of(scope, contents.of(scope, view))?;
    let length = copy.byte_length();
    Ok(Some(Part::memory(copy.get_backing_store(), 0, length)))
}

/// `slice(start, end)` of a handle.
fn slice<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let bound = |scope: &mut v8::PinScope<'s, '_>, index| {
        let value = args.get(index).integer_value(scope).ok_or(Throw::Pending)?;
        usize::try_from(value).map_err(|_| invalid("start"))
    };
    let (start, end) = (bound(scope, 0)?, bound(scope, 1)?);
    let blob = Blob::of(scope, args.this().into()).ok_or_else(|| invalid("this"))?;
    let list = blob.slice(start, end);
    Blob::new(scope, list)?.into_handle(scope)
}

fn get_reader<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let blob = Blob::of(scope, args.this().into()).ok_or_else(|| invalid("this"))?;
    let env = Env::of(scope);
    let handle = env.new_instance(scope, "blob.BlobReader")?;
    let reader = Reader {
        blob,
        next: Cell::new(0),
        offset: Cell::new(0),
        ended: Cell::new(false),
    };
    env.objects.wrap(scope, handle, Rc::new(reader));
    Ok(handle.into())
}

impl Reader {
    /// The next bytes; `None` at the end, an error number for a file that cannot be read.
    fn next<'s>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
    ) -> Result<Option<Result<v8::Local<'s, v8::ArrayBuffer>, Errno>>, Throw> {
        const CHUNK: usize = 1 << 16;
        let Some(part) = self.blob.parts.list.get(self.next.get()) else {
            return Ok(None);
        };
        let offset = self.offset.get();
        let (start, rest) = (
            part.start.saturating_add(offset),
            part.length.saturating_sub(offset),
        );
        let (read, length) = match &part.source {
            Source::Memory(memory) => (Ok(memory.copy(scope, start, rest)?), rest),
            Source::File(file) => {
                let length = rest.min(CHUNK);
                match file.read(&Env::of(scope), start, length) {
                    Ok(bytes) => (Ok(array_buffer_of(scope, &bytes)?), length),
                    Err(errno) => (Err(errno), 0),
                }
            }
        };
        if length == rest {
            self.next.set(self.next.get() + 1);
            self.offset.set(0);
        } else {
            self.offset.set(offset + length);
        }
        Ok(Some(read))
    }
}

/// `pull(callback)`: calls back with 1 and the next bytes, 0 at the end, or the negative number of an error; answers
/// that number.
fn pull<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    const END: i32 = 0;
    const CONTINUE: i32 = 1;
    let callback =
        v8::Local::<v8::Function>::try_from(args.get(0)).map_err(|_| invalid("callback"))?;
    let reader = Env::of(scope)
        .objects
        .unwrap::<Reader>(scope, args.this())
        .ok_or_else(|| invalid("this"))?;
    let undefined: v8::Local<v8::Value> = v8::undefined(scope).into();
    let (status, rest) = match reader.next(scope)? {
        Some(Ok(buffer)) => (CONTINUE, Some(buffer.into())),
        Some(Err(errno)) => (-errno.number(), Some(undefined)),
        // Only the first end has a second argument.
        None => (END, (!reader.ended.replace(true)).then_some(undefined)),
    };
    let status = v8::Integer::new(scope, status).into();
    let arguments: Vec<_> = std::iter::once(status).chain(rest).collect();
    callback
        .call(scope, args.this().into(), &arguments)
        .ok_or(Throw::Pending)?;
    Ok(status)
}

/// `concat(buffers)`: one array buffer of them all.
fn concat<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let sources = elements(scope, args.get(0))?;
    let mut total = 0_usize;
    for source in &sources {
        let mut contents = Contents::default();
        let length = contents
            .of_value(scope, *source)
            .ok_or_else(|| invalid("list"))?
            .len();
        total = total
            .checked_add(length)
            .ok_or_else(crate::array_buffer::allocation_failed)?;
    }
    let buffer = new_array_buffer(scope, total)?;
    let array = v8::Uint8Array::new(scope, buffer, 0, total).ok_or(Throw::Pending)?;
    let mut rest = crate::array_buffer::writable(scope, array.into());
    for source in &sources {
        let mut contents = Contents::default();
        let bytes = contents.of_value(scope, *source).unwrap_or_default();
        // A shared buffer may have grown since.
        let (part, after) = rest.split_at_mut(bytes.len().min(rest.len()));
        part.copy_from_slice(bytes.get(..part.len()).unwrap_or_default());
        rest = after;
    }
    Ok(buffer.into())
}

/// `storeDataObject(id, handle, length, type)`
fn store_data_object<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    if !args.get(0).is_string()
        || Blob::of(scope, args.get(1)).is_none()
        || !args.get(3).is_string()
    {
        return Err(invalid("handle"));
    }
    let entry = v8::Array::new_with_elements(scope, &[args.get(1), args.get(2), args.get(3)]);
    store(scope)?
        .set(scope, args.get(0), entry.into())
        .ok_or(Throw::Pending)?;
    Ok(v8::undefined(scope).into())
}

/// `getDataObject(id)`: handle, length and type, or `undefined`.
fn get_data_object<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let entry = store(scope)?
        .get(scope, args.get(0))
        .ok_or(Throw::Pending)?;
    let Ok(entry) = v8::Local::<v8::Array>::try_from(entry) else {
        return Ok(v8::undefined(scope).into());
    };
    let mut values = Vec::with_capacity(3);
    for index in 0..entry.length() {
        values.push(entry.get_index(scope, index).ok_or(Throw::Pending)?);
    }
    Ok(v8::Array::new_with_elements(scope, &values).into())
}

/// `revokeObjectURL(url)`: forgets the object of `blob:nodedata:<id>`.
fn revoke_object_url<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let input = v8::Local::<v8::String>::try_from(args.get(0)).map_err(|_| invalid("url"))?;
    let undefined = v8::undefined(scope).into();
    const LONGEST: usize = 1 << 16;
    if input.length() > LONGEST {
        return Ok(undefined);
    }
    let Ok(url) = ada_url::Url::parse(input.to_rust_string_lossy(scope), None) else {
        return Ok(undefined);
    };
    if let Some((_, id)) = url.pathname().split_once(':')
        && !id.contains(':')
    {
        let id = text::utf8(scope, id.as_bytes())?;
        store(scope)?.delete(scope, id).ok_or(Throw::Pending)?;
    }
    Ok(undefined)
}

/// `createBlobFromFilePath(path)`: handle and length.
fn create_blob_from_file_path<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let path = crate::bindings::fs::argument::path(scope, args.get(0))?.to_vec();
    let env = Env::of(scope);
    env.require_permission(crate::permission_model::Scope::FileSystemRead, &path)?;
    let (kernel, process) = (env.kernel()?, env.process()?);
    let stat = kernel
        .stat(&process, &path)
        .map_err(|_| Throw::type_error("ERR_INVALID_ARG_VALUE", "Unable to open file as blob"))?;
    let length = usize::try_from(stat.size).unwrap_or(usize::MAX);
    let file = File {
        path,
        size: stat.size,
        modified: stat.mtime,
    };
    let source = Source::File(Arc::new(file));
    let part = Part {
        source,
        start: 0,
        length,
    };
    let list = if length > 0 { vec![part] } else { Vec::new() };
    let handle = Blob::new(scope, list)?.into_handle(scope)?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "the kernel's files are smaller than 2^53 bytes"
    )]
    let length = v8::Number::new(scope, stat.size as f64).into();
    Ok(v8::Array::new_with_elements(scope, &[handle, length]).into())
}

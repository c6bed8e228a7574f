//! What a process may learn of its use of time and memory.
//!
//! With frozen clocks nothing here moves while guest code runs: two reads in one turn of the event loop are equal, and
//! sizes are rounded, so that neither garbage collection nor other processes can be timed by it.

use std::cell::RefCell;
use std::time::Duration;

use crate::clock::Mitigation;
use crate::env::Env;

/// Sizes are multiples of this with frozen clocks.
const GRAIN: usize = 64 << 10;
/// What a process needs beside its heap, as `rss` shows it: declared, not measured.
const BASE_RSS: usize = 40 << 20;

/// The sizes of V8's heap, in the order of `v8.heapStatisticsBuffer`.
pub const HEAP_FIELDS: usize = 14;

/// One of V8's heap spaces: its name and size, used, available and physical bytes.
#[derive(Clone, Debug)]
pub struct Space {
    /// Its name, for example `new_space`.
    pub name: String,
    /// Size, used size, available size, physical size.
    pub sizes: [usize; 4],
}

/// Memory at one moment.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// In the order of `v8.heapStatisticsBuffer`.
    pub heap: [usize; HEAP_FIELDS],
    /// Every space of the heap.
    pub spaces: Vec<Space>,
    /// Code, bytecode, external source and CPU profiler metadata.
    pub code: [usize; 4],
}

impl Memory {
    /// `process.memoryUsage().heapTotal`.
    pub fn heap_total(&self) -> usize {
        self.heap[0]
    }

    /// `process.memoryUsage().heapUsed`.
    pub fn heap_used(&self) -> usize {
        self.heap[4]
    }

    /// `process.memoryUsage().external`.
    pub fn external(&self) -> usize {
        self.heap[13]
    }

    /// `process.memoryUsage().arrayBuffers`: external memory that is not the text of scripts.
    pub fn array_buffers(&self) -> usize {
        self.external().saturating_sub(self.code[2])
    }

    /// `process.memoryUsage().rss`.
    pub fn rss(&self) -> usize {
        BASE_RSS + self.heap_total() + self.external()
    }
}

/// The names of V8's spaces, by V8's numbers.
#[derive(Default)]
struct SpacePlaces(RefCell<Vec<String>>);

/// The reading of this turn of the event loop.
#[derive(Default)]
struct Reading(RefCell<Option<(Duration, Memory)>>);

impl Env {
    /// What the heap holds, as this process may know it; with its spaces where the clock is frozen.
    pub fn memory(&self, scope: &mut v8::PinScope<'_, '_>) -> Memory {
        if self.clock().mitigation() == Mitigation::Off {
            return read(scope, 1);
        }
        self.frozen_memory(scope)
    }

    /// The same, with its spaces. V8 looks at each page of a space for it.
    pub fn memory_with_spaces(&self, scope: &mut v8::PinScope<'_, '_>) -> Memory {
        if self.clock().mitigation() == Mitigation::Off {
            let mut memory = read(scope, 1);
            memory.spaces = read_spaces(scope, 1);
            return memory;
        }
        self.frozen_memory(scope)
    }

    /// The sizes of one space: of zeros, if V8 has none of this name.
    pub fn memory_of_space(&self, scope: &mut v8::PinScope<'_, '_>, name: &str) -> [usize; 4] {
        if self.clock().mitigation() == Mitigation::Off {
            let places = self.extension::<SpacePlaces>();
            let mut places = places.0.borrow_mut();
            if places.is_empty() {
                *places = (0..scope.number_of_heap_spaces())
                    .map(|place| read_space(scope, place, 1).map_or_else(String::new, |it| it.name))
                    .collect();
            }
            let place = places.iter().position(|place| place == name);
            return place
                .and_then(|place| read_space(scope, place, 1))
                .map_or([0; 4], |space| space.sizes);
        }
        let memory = self.frozen_memory(scope);
        let space = memory.spaces.into_iter().find(|space| space.name == name);
        space.map_or([0; 4], |space| space.sizes)
    }

    fn frozen_memory(&self, scope: &mut v8::PinScope<'_, '_>) -> Memory {
        let now = self.clock().elapsed();
        let reading = self.extension::<Reading>();
        if let Some((at, memory)) = reading.0.borrow().as_ref()
            && *at == now
        {
            return memory.clone();
        }
        let mut memory = read(scope, GRAIN);
        memory.spaces = read_spaces(scope, GRAIN);
        reading.0.replace(Some((now, memory.clone())));
        memory
    }

    /// CPU time of this process: user and system, in microseconds.
    ///
    /// With frozen clocks it is the time that has passed, which tells the guest nothing new.
    #[expect(
        clippy::cast_precision_loss,
        reason = "microseconds of a process's life fit a double"
    )]
    pub fn cpu_micros(&self) -> (f64, f64) {
        if self.clock().mitigation() == Mitigation::Freeze {
            return (self.clock().elapsed().as_micros() as f64, 0.0);
        }
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: `usage` is a valid place for one rusage; the call writes it for this thread.
        if unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) } != 0 {
            return (0.0, 0.0);
        }
        // SAFETY: zeroed is a valid rusage, and the call filled it.
        let usage = unsafe { usage.assume_init() };
        let micros = |time: libc::timeval| time.tv_sec as f64 * 1e6 + time.tv_usec as f64;
        (micros(usage.ru_utime), micros(usage.ru_stime))
    }
}

fn read_space(scope: &mut v8::PinScope<'_, '_>, place: usize, grain: usize) -> Option<Space> {
    let space = scope.get_heap_space_statistics(place)?;
    let sizes = [
        space.space_size(),
        space.space_used_size(),
        space.space_available_size(),
        space.physical_space_size(),
    ];
    Some(Space {
        name: space.space_name().to_string_lossy().into_owned(),
        sizes: sizes.map(|bytes| bytes.div_ceil(grain) * grain),
    })
}

fn read_spaces(scope: &mut v8::PinScope<'_, '_>, grain: usize) -> Vec<Space> {
    (0..scope.number_of_heap_spaces())
        .filter_map(|place| read_space(scope, place, grain))
        .collect()
}

fn read(scope: &mut v8::PinScope<'_, '_>, grain: usize) -> Memory {
    let round = |bytes: usize| bytes.div_ceil(grain) * grain;
    let heap = scope.get_heap_statistics();
    let code = scope
        .get_heap_code_and_metadata_statistics()
        .map_or([0; 4], |code| {
            [
                code.code_and_metadata_size(),
                code.bytecode_and_metadata_size(),
                code.external_script_source_size(),
                code.cpu_profiler_metadata_size(),
            ]
        });
    Memory {
        heap: [
            round(heap.total_heap_size()),
            round(heap.total_heap_size_executable()),
            round(heap.total_physical_size()),
            round(heap.total_available_size()),
            round(heap.used_heap_size()),
            heap.heap_size_limit(),
            round(heap.malloced_memory()),
            round(heap.peak_malloced_memory()),
            usize::from(heap.does_zap_garbage()),
            heap.number_of_native_contexts(),
            heap.number_of_detached_contexts(),
            round(heap.total_global_handles_size()),
            round(heap.used_global_handles_size()),
            round(heap.external_memory()),
        ],
        spaces: Vec::new(),
        code: code.map(round),
    }
}

//! Rust objects behind the guest's wrapper objects.
//!
//! A wrapper carries an index and a generation in its internal field, never a pointer: a snapshot may hold wrappers'
//! templates, and a stale or foreign field finds nothing. The entry dies with its wrapper.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

use crate::env::Env;
use crate::memory::NativeCharge;
use crate::wasm_memory::thread_budget;

struct Entry {
    value: Rc<dyn Any>,
    wrapper: v8::Weak<v8::Object>,
    /// `None` while a snapshot is made.
    _charge: Option<NativeCharge>,
}

#[derive(Default)]
struct Slots {
    entries: Vec<(u32, Option<Entry>)>,
    free: Vec<u32>,
}

/// See the module's text.
#[derive(Default)]
pub struct ObjectTable(RefCell<Slots>);

const INDEX_BITS: u32 = 32;
/// What an entry costs beside its value, as measured: its slot, V8's weak handle, the finalizer.
const OVERHEAD_BYTES: usize = 512;
/// The internal field that holds index and generation.
const FIELD: usize = 0;

/// V8's own objects with internal fields (buffers and their views) have zeros there: those must lead to no entry.
const FIRST_GENERATION: u32 = 1;

impl ObjectTable {
    /// Puts `value` behind `wrapper`, which must come from a template with an internal field.
    pub fn wrap<T: Any>(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        wrapper: v8::Local<v8::Object>,
        value: Rc<T>,
    ) {
        self.wrap_with(scope, wrapper, value, 0);
    }

    /// As [`Self::wrap`], for a value that holds `held` bytes beside its own.
    ///
    /// All of it counts against the memory limit, since V8 sees a small object only. A process that may not have it has an
    /// end by then; its object is made nevertheless.
    pub fn wrap_with<T: Any>(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        wrapper: v8::Local<v8::Object>,
        value: Rc<T>,
        held: usize,
    ) {
        let bytes = (OVERHEAD_BYTES + size_of::<T>()).saturating_add(held);
        // May collect garbage, which removes entries: nothing is borrowed here.
        let charge = thread_budget().and_then(|budget| budget.charge_kept(scope, bytes).ok());
        let (index, generation) = {
            let mut slots = self.0.borrow_mut();
            if let Some(index) = slots.free.pop() {
                let generation = slots
                    .entries
                    .get(index as usize)
                    .map_or(FIRST_GENERATION, |slot| slot.0);
                (index, generation)
            } else {
                slots.entries.push((FIRST_GENERATION, None));
                (
                    u32::try_from(slots.entries.len() - 1).unwrap_or(u32::MAX),
                    FIRST_GENERATION,
                )
            }
        };
        let weak = v8::Weak::with_finalizer(
            scope,
            wrapper,
            Box::new(move |isolate| Env::of(isolate).objects.remove(index, generation)),
        );
        if let Some(slot) = self.0.borrow_mut().entries.get_mut(index as usize) {
            slot.1 = Some(Entry {
                value,
                wrapper: weak,
                _charge: charge,
            });
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "20 bits of generation and 32 of index fit a double exactly"
        )]
        let key = v8::Number::new(
            scope,
            ((u64::from(generation) << INDEX_BITS) | u64::from(index)) as f64,
        );
        wrapper.set_internal_field(FIELD, key.into());
    }

    /// The object of type `T` behind `wrapper`.
    pub fn unwrap<T: Any>(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        wrapper: v8::Local<v8::Object>,
    ) -> Option<Rc<T>> {
        self.unwrap_any(scope, wrapper)?.downcast().ok()
    }

    /// The object behind `wrapper`, of whatever type.
    pub fn unwrap_any(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        wrapper: v8::Local<v8::Object>,
    ) -> Option<Rc<dyn Any>> {
        if (FIELD..wrapper.internal_field_count()).is_empty() {
            return None;
        }
        let key = v8::Local::<v8::Number>::try_from(wrapper.get_internal_field(scope, FIELD)?)
            .ok()?
            .value();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "written by `wrap` only"
        )]
        let key = key as u64;
        let (generation, index) = (
            (key >> INDEX_BITS) as u32,
            (key & u64::from(u32::MAX)) as usize,
        );
        let slots = self.0.borrow();
        let (current, entry) = slots.entries.get(index)?;
        if *current != generation {
            return None;
        }
        Some(entry.as_ref()?.value.clone())
    }

    /// Every living wrapper whose object is a `T`.
    pub fn wrappers<'s, T: Any>(
        &self,
        scope: &mut v8::PinScope<'s, '_>,
    ) -> Vec<v8::Local<'s, v8::Object>> {
        let slots = self.0.borrow();
        let entries = slots.entries.iter().filter_map(|(_, entry)| entry.as_ref());
        entries
            .filter(|entry| entry.value.is::<T>())
            .filter_map(|entry| entry.wrapper.to_local(scope))
            .collect()
    }

    /// Every object that is a `T`.
    pub fn values<T: Any>(&self) -> Vec<Rc<T>> {
        let slots = self.0.borrow();
        let entries = slots.entries.iter().filter_map(|(_, entry)| entry.as_ref());
        entries
            .filter_map(|entry| entry.value.clone().downcast().ok())
            .collect()
    }

    fn remove(&self, index: u32, generation: u32) {
        let removed = {
            let mut slots = self.0.borrow_mut();
            let Some(slot) = slots.entries.get_mut(index as usize) else {
                return;
            };
            if slot.0 != generation {
                return;
            }
            slot.0 = ((slot.0 + 1) & 0xf_ffff).max(FIRST_GENERATION);
            let entry = slot.1.take();
            slots.free.push(index);
            entry
        };
        // Dropped here, with no borrow held: a value's destructor may use the table.
        drop(removed);
    }

    /// Drops everything.
    pub fn clear(&self) {
        let entries = std::mem::take(&mut self.0.borrow_mut().entries);
        drop(entries);
        self.0.borrow_mut().free.clear();
    }
}

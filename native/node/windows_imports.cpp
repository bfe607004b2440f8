// Where the functions of Node come from in an addon for Windows.
//
// A Windows program binds what it imports to the name of a module when it is linked: an addon that
// is bound to node.exe cannot be loaded by Electron, Bun, Deno or a node.exe of another name. So
// nothing is imported: a call of a function that is declared dllimport goes through a pointer
// named __imp_FUNCTION, and the pointers are defined here and filled in with what the process that
// loads the addon exports. Compilers with Microsoft's ABI link the import library and the hook of
// cmake-js instead.
#if defined(__MINGW32__)

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

// Node-API version 9, all of it: a function that is missing is an error of the linker.
#define NODE_API_FUNCTIONS(X)             \
  X(napi_acquire_threadsafe_function)     \
  X(napi_add_async_cleanup_hook)          \
  X(napi_add_env_cleanup_hook)            \
  X(napi_add_finalizer)                   \
  X(napi_adjust_external_memory)          \
  X(napi_async_destroy)                   \
  X(napi_async_init)                      \
  X(napi_call_function)                   \
  X(napi_call_threadsafe_function)        \
  X(napi_cancel_async_work)               \
  X(napi_check_object_type_tag)           \
  X(napi_close_callback_scope)            \
  X(napi_close_escapable_handle_scope)    \
  X(napi_close_handle_scope)              \
  X(napi_coerce_to_bool)                  \
  X(napi_coerce_to_number)                \
  X(napi_coerce_to_object)                \
  X(napi_coerce_to_string)                \
  X(napi_create_array)                    \
  X(napi_create_array_with_length)        \
  X(napi_create_arraybuffer)              \
  X(napi_create_async_work)               \
  X(napi_create_bigint_int64)             \
  X(napi_create_bigint_uint64)            \
  X(napi_create_bigint_words)             \
  X(napi_create_buffer)                   \
  X(napi_create_buffer_copy)              \
  X(napi_create_dataview)                 \
  X(napi_create_date)                     \
  X(napi_create_double)                   \
  X(napi_create_error)                    \
  X(napi_create_external)                 \
  X(napi_create_external_arraybuffer)     \
  X(napi_create_external_buffer)          \
  X(napi_create_function)                 \
  X(napi_create_int32)                    \
  X(napi_create_int64)                    \
  X(napi_create_object)                   \
  X(napi_create_promise)                  \
  X(napi_create_range_error)              \
  X(napi_create_reference)                \
  X(napi_create_string_latin1)            \
  X(napi_create_string_utf16)             \
  X(napi_create_string_utf8)              \
  X(napi_create_symbol)                   \
  X(napi_create_threadsafe_function)      \
  X(napi_create_type_error)               \
  X(napi_create_typedarray)               \
  X(napi_create_uint32)                   \
  X(napi_define_class)                    \
  X(napi_define_properties)               \
  X(napi_delete_async_work)               \
  X(napi_delete_element)                  \
  X(napi_delete_property)                 \
  X(napi_delete_reference)                \
  X(napi_detach_arraybuffer)              \
  X(napi_escape_handle)                   \
  X(napi_fatal_error)                     \
  X(napi_fatal_exception)                 \
  X(napi_get_all_property_names)          \
  X(napi_get_and_clear_last_exception)    \
  X(napi_get_array_length)                \
  X(napi_get_arraybuffer_info)            \
  X(napi_get_boolean)                     \
  X(napi_get_buffer_info)                 \
  X(napi_get_cb_info)                     \
  X(napi_get_dataview_info)               \
  X(napi_get_date_value)                  \
  X(napi_get_element)                     \
  X(napi_get_global)                      \
  X(napi_get_instance_data)               \
  X(napi_get_last_error_info)             \
  X(napi_get_named_property)              \
  X(napi_get_new_target)                  \
  X(napi_get_node_version)                \
  X(napi_get_null)                        \
  X(napi_get_property)                    \
  X(napi_get_property_names)              \
  X(napi_get_prototype)                   \
  X(napi_get_reference_value)             \
  X(napi_get_threadsafe_function_context) \
  X(napi_get_typedarray_info)             \
  X(napi_get_undefined)                   \
  X(napi_get_uv_event_loop)               \
  X(napi_get_value_bigint_int64)          \
  X(napi_get_value_bigint_uint64)         \
  X(napi_get_value_bigint_words)          \
  X(napi_get_value_bool)                  \
  X(napi_get_value_double)                \
  X(napi_get_value_external)              \
  X(napi_get_value_int32)                 \
  X(napi_get_value_int64)                 \
  X(napi_get_value_string_latin1)         \
  X(napi_get_value_string_utf16)          \
  X(napi_get_value_string_utf8)           \
  X(napi_get_value_uint32)                \
  X(napi_get_version)                     \
  X(napi_has_element)                     \
  X(napi_has_named_property)              \
  X(napi_has_own_property)                \
  X(napi_has_property)                    \
  X(napi_instanceof)                      \
  X(napi_is_array)                        \
  X(napi_is_arraybuffer)                  \
  X(napi_is_buffer)                       \
  X(napi_is_dataview)                     \
  X(napi_is_date)                         \
  X(napi_is_detached_arraybuffer)         \
  X(napi_is_error)                        \
  X(napi_is_exception_pending)            \
  X(napi_is_promise)                      \
  X(napi_is_typedarray)                   \
  X(napi_make_callback)                   \
  X(napi_module_register)                 \
  X(napi_new_instance)                    \
  X(napi_object_freeze)                   \
  X(napi_object_seal)                     \
  X(napi_open_callback_scope)             \
  X(napi_open_escapable_handle_scope)     \
  X(napi_open_handle_scope)               \
  X(napi_queue_async_work)                \
  X(napi_ref_threadsafe_function)         \
  X(napi_reference_ref)                   \
  X(napi_reference_unref)                 \
  X(napi_reject_deferred)                 \
  X(napi_release_threadsafe_function)     \
  X(napi_remove_async_cleanup_hook)       \
  X(napi_remove_env_cleanup_hook)         \
  X(napi_remove_wrap)                     \
  X(napi_resolve_deferred)                \
  X(napi_run_script)                      \
  X(napi_set_element)                     \
  X(napi_set_instance_data)               \
  X(napi_set_named_property)              \
  X(napi_set_property)                    \
  X(napi_strict_equals)                   \
  X(napi_throw)                           \
  X(napi_throw_error)                     \
  X(napi_throw_range_error)               \
  X(napi_throw_type_error)                \
  X(napi_type_tag_object)                 \
  X(napi_typeof)                          \
  X(napi_unref_threadsafe_function)       \
  X(napi_unwrap)                          \
  X(napi_wrap)                            \
  X(node_api_create_syntax_error)         \
  X(node_api_get_module_file_name)        \
  X(node_api_symbol_for)                  \
  X(node_api_throw_syntax_error)

extern "C" {
#define DEFINE_POINTER(name) void* __imp_##name = nullptr;
NODE_API_FUNCTIONS(DEFINE_POINTER)
#undef DEFINE_POINTER
}

namespace {

struct Import {
  const char* name;
  void** pointer;
};

#define NAME_POINTER(name) {#name, &__imp_##name},
constexpr Import kImports[] = {NODE_API_FUNCTIONS(NAME_POINTER)};
#undef NAME_POINTER

// Stands in for a function that the host does not have: napi_generic_failure. In the calling
// conventions of 64-bit Windows the caller clears the stack, whatever it has passed.
int fail_call() { return 9; }

// The executable, or the library that an executable has Node in.
HMODULE find_host() {
  constexpr const char* kLibraries[] = {"libnode.dll", "node.dll", "nw.dll"};
  for (const char* library : kLibraries) {
    const HMODULE module = GetModuleHandleA(library);
    if (module != nullptr && GetProcAddress(module, kImports[0].name) != nullptr) return module;
  }
  return GetModuleHandleA(nullptr);
}

// Runs when the addon is loaded, before anything in it is called.
const bool g_is_bound = [] {
  const HMODULE host = find_host();
  for (const Import& import : kImports) {
    const FARPROC found = GetProcAddress(host, import.name);
    *import.pointer =
        found != nullptr ? reinterpret_cast<void*>(found) : reinterpret_cast<void*>(fail_call);
  }
  return true;
}();

}  // namespace

#endif

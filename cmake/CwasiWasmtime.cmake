# cwasi::wasmtime: the engine's C API as one static library, built by tools/wasmtime.sh into the cache.
execute_process(COMMAND ${CMAKE_SOURCE_DIR}/tools/wasmtime.sh --print-dir
  OUTPUT_VARIABLE CWASI_WASMTIME_DIR OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
if(NOT EXISTS ${CWASI_WASMTIME_DIR}/lib/libcwasi_wasmtime.a)
  message(FATAL_ERROR "the engine's library is not built: run ./dev setup")
endif()
# The key of the build is part of the cache key of compiled modules.
get_filename_component(CWASI_WASMTIME_KEY ${CWASI_WASMTIME_DIR} NAME)
add_library(cwasi::wasmtime STATIC IMPORTED GLOBAL)
set_target_properties(cwasi::wasmtime PROPERTIES
  IMPORTED_LOCATION ${CWASI_WASMTIME_DIR}/lib/libcwasi_wasmtime.a
  INTERFACE_SYSTEM_INCLUDE_DIRECTORIES ${CWASI_WASMTIME_DIR}/include
  INTERFACE_INCLUDE_DIRECTORIES ${CWASI_WASMTIME_DIR}/include
  INTERFACE_LINK_LIBRARIES "pthread;dl;m")

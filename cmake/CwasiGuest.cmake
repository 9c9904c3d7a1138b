# cwasi_guest(NAME file.c|file.cc [CXX] [FLAGS ...]): build/<preset>/guests/NAME.wasm, a function in C
# or C++ against sdk/c or sdk/cpp, with the link flags that sdk/README.md explains.
set(CWASI_GUEST_DIR ${CMAKE_BINARY_DIR}/guests)
file(MAKE_DIRECTORY ${CWASI_GUEST_DIR})
set(CWASI_GUEST_CONFIG ${CMAKE_SOURCE_DIR}/sdk/cwasi.cfg)
add_custom_target(guests ALL)
function(cwasi_guest name source)
  cmake_parse_arguments(A "" "" "FLAGS" ${ARGN})
  get_filename_component(source ${source} ABSOLUTE)
  if(source MATCHES "\\.cc$")
    set(compiler clang++-19 -std=c++20 -fno-rtti)
  else()
    set(compiler clang-19 -std=c11)
  endif()
  set(output ${CWASI_GUEST_DIR}/${name}.wasm)
  add_custom_command(OUTPUT ${output}
    COMMAND ${compiler} --config=${CWASI_GUEST_CONFIG} -O2 -g1 -Wall -Wextra -Werror ${A_FLAGS}
      -MD -MF ${output}.d ${source} -o ${output}
    DEPENDS ${source} ${CWASI_GUEST_CONFIG} DEPFILE ${output}.d
    COMMENT "guest ${name}.wasm" VERBATIM)
  add_custom_target(guest_${name} DEPENDS ${output})
  add_dependencies(guests guest_${name})
endfunction()
# cwasi_wat(NAME file.wat): the same for the text format.
function(cwasi_wat name source)
  get_filename_component(source ${source} ABSOLUTE)
  set(output ${CWASI_GUEST_DIR}/${name}.wasm)
  add_custom_command(OUTPUT ${output} COMMAND wat2wasm --debug-names ${source} -o ${output}
    DEPENDS ${source} COMMENT "guest ${name}.wasm" VERBATIM)
  add_custom_target(guest_${name} DEPENDS ${output})
  add_dependencies(guests guest_${name})
endfunction()

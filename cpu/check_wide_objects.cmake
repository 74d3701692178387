# cmake -DOBJECTS=a.o;b.o -DNM=nm -P: files compiled for wide instruction sets must not offer weak
# symbols (inline functions of headers): the linker could keep their copy for hosts without them.
foreach(object IN LISTS OBJECTS)
  execute_process(COMMAND ${NM} --defined-only ${object}
                  OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[^\n]* [WVu] [^\n]*" weak "${symbols}")
  if(weak)
    message(SEND_ERROR "${object} defines weak symbols: ${weak}")
  endif()
endforeach()
list(LENGTH OBJECTS num_objects)
if(num_objects EQUAL 0)
  message(FATAL_ERROR "no objects given")
endif()

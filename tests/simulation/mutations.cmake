# The mutation gate: the simulator must notice each of these bugs in the scheduler.
#
# mutations/NAME.mutation says which file, what stands there and what stands there instead. The
# build makes a changed copy of that one file and links it before the scheduler's library, so that
# nothing in the scheduler knows of it: inferd_sim_NAME. If the text is not there, the build fails:
# the mutation must follow the code. tests/simulation/mutant_gate.py runs them.
file(GLOB mutations CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/mutations/*.mutation)
set(mutator ${CMAKE_CURRENT_SOURCE_DIR}/mutate.py)
set(gate ${CMAKE_CURRENT_SOURCE_DIR}/mutant_gate.py)
add_custom_target(inferd_sim_mutants)
foreach(mutation ${mutations})
  get_filename_component(name ${mutation} NAME_WE)
  file(STRINGS ${mutation} source REGEX "^file: " LIMIT_COUNT 1)
  string(REPLACE "file: " "" source "${source}")
  get_filename_component(base ${source} NAME)
  set(changed ${CMAKE_CURRENT_BINARY_DIR}/mutants/${name}/${base})
  add_custom_command(OUTPUT ${changed}
    COMMAND Python3::Interpreter ${mutator} ${mutation} ${PROJECT_SOURCE_DIR} ${changed}
    DEPENDS ${mutation} ${mutator} ${PROJECT_SOURCE_DIR}/${source} VERBATIM)
  set(mutant inferd_sim_${name})
  add_executable(${mutant} ${changed} $<TARGET_OBJECTS:inferd_sim_main>)
  target_link_libraries(${mutant} PRIVATE inferd_simulation inferd_flags)
  add_dependencies(inferd_sim_mutants ${mutant})
  add_test(NAME sim.mutation.${name}
           COMMAND Python3::Interpreter ${gate} --seeds 2000
                   --clean $<TARGET_FILE:inferd_sim> $<TARGET_FILE:${mutant}>)
  set_tests_properties(sim.mutation.${name} PROPERTIES LABELS "mutation.sim" TIMEOUT 300)
endforeach()

# As much of Slicer's CMake package as an extension with one scripted module meets when it is configured and
# installed. Where Slicer copies files when it builds, this copies them when it configures; nothing is compiled.

get_filename_component(stub "${CMAKE_CURRENT_LIST_DIR}" ABSOLUTE)
set(Slicer_USE_FILE "${stub}/UseSlicer.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${stub}/CheckMetadata.cmake")
set(Slicer_EXTENSION_CPACK "${stub}/CheckMetadata.cmake")
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR "lib/Slicer-5.12/qt-scripted-modules")
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR "./${Slicer_QTSCRIPTEDMODULES_LIB_DIR}")

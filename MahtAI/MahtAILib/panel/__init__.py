"""The panel: one widget a section, and the state that they share. Qt; HTTP and MRML are left to client and scene."""

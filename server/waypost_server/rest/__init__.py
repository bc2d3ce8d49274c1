"""The REST APIs: thin handlers over `waypost.node.Node`, no rules of their own."""

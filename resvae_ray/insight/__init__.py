"""What a search and its model are worth: figures, and the page that shows them."""
